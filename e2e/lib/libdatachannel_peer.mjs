/**
 * libdatachannel, which OBS sends with, as a WHIP publisher or a WHEP viewer.
 *
 *   node libdatachannel_peer.mjs publish ENDPOINT CODEC VIDEO-PORT AUDIO-PORT   sends the RTP that comes in at these UDP ports
 *   node libdatachannel_peer.mjs watch ENDPOINT CODEC PACKETS                   counts RTP until PACKETS packets of each kind have arrived
 *
 * `MIDS=video-stream,audio-stream` names the sections. Prints one line of JSON when it is connected or done, and ends its session
 * at the end of its standard input.
 */

import { createSocket } from "node:dgram";
import { Audio, PeerConnection, RtcpReceivingSession, Video } from "node-datachannel";
import { inTime, until } from "./until.mjs";

const SSRCS = { video: 11, audio: 12 };
const PAYLOAD_TYPES = { video: 96, audio: 111 };
/** The server answers and connects within milliseconds; a busy machine within seconds. */
const PATIENCE_MS = 40_000;

const [what, endpoint, codec, ...more] = process.argv.slice(2);
const [videoMid, audioMid] = (process.env.MIDS ?? "video,audio").split(",");

const say = (facts) => console.log(JSON.stringify(facts));

function sections(direction) {
  const video = new Video(videoMid, direction);
  const audio = new Audio(audioMid, direction);
  if (codec === "H264") video.addH264Codec(PAYLOAD_TYPES.video);
  else video[`add${codec}Codec`](PAYLOAD_TYPES.video);
  audio.addOpusCodec(PAYLOAD_TYPES.audio);
  return { video, audio };
}

/** Offers with all candidates, and takes the answer. Returns the session's address. */
async function negotiate(peer) {
  const gathered = new Promise((resolve) => peer.onGatheringStateChange((state) => state === "complete" && resolve()));
  peer.setLocalDescription("offer");
  await inTime("candidates are gathered", PATIENCE_MS, gathered);
  const headers = { "Content-Type": "application/sdp" };
  const response = await fetch(endpoint, { method: "POST", headers, body: peer.localDescription().sdp });
  const answer = await response.text();
  if (response.status !== 201) throw new Error(`${response.status}: ${answer}`);
  peer.setRemoteDescription(answer, "answer");
  return new URL(response.headers.get("location"), endpoint);
}

async function publish(videoPort, audioPort) {
  const peer = new PeerConnection("publisher", { iceServers: [] });
  const { video, audio } = sections("SendOnly");
  const tracks = {};
  for (const [kind, section, port] of [["video", video, videoPort], ["audio", audio, audioPort]]) {
    section.addSSRC(SSRCS[kind], "libdatachannel", "stream", kind);
    const track = (tracks[kind] = peer.addTrack(section));
    const socket = createSocket("udp4");
    socket.on("message", (packet) => {
      if (!track.isOpen()) return;
      packet.writeUInt32BE(SSRCS[kind], 8);
      track.sendMessageBinary(packet);
    });
    socket.bind(Number(port), "127.0.0.1");
    socket.unref();
  }
  const session = await negotiate(peer);
  await until("both tracks are open", () => Object.values(tracks).every((track) => track.isOpen()), {
    within: PATIENCE_MS,
    describe: () => JSON.stringify({ state: peer.state(), video: tracks.video.isOpen(), audio: tracks.audio.isOpen() }),
  });
  say({ connection: peer.state() });
  await new Promise((resolve) => process.stdin.resume().once("end", resolve));
  await fetch(session, { method: "DELETE" });
  peer.close();
}

async function watch(packets) {
  const peer = new PeerConnection("viewer", { iceServers: [] });
  const { video, audio } = sections("RecvOnly");
  const counts = { video: 0, audio: 0 };
  const tracks = [];
  for (const [kind, section] of [["video", video], ["audio", audio]]) {
    const track = peer.addTrack(section);
    track.setMediaHandler(new RtcpReceivingSession());
    // RTCP comes here too: its second byte is 192 to 223 (RFC 5761 §4).
    track.onMessage((packet) => (packet[1] < 192 || packet[1] > 223) && (counts[kind] += 1));
    tracks.push(track);
  }
  const session = await negotiate(peer);
  await until(`${packets} packets of each kind`, () => Math.min(...Object.values(counts)) >= packets, {
    within: PATIENCE_MS,
    describe: () => JSON.stringify({ state: peer.state(), counts, open: tracks.map((track) => track.isOpen()) }),
  });
  say({ connection: peer.state(), ...counts });
  await fetch(session, { method: "DELETE" });
  peer.close();
}

try {
  await { publish, watch }[what](...more);
  process.exit(0);
} catch (error) {
  console.error(`libdatachannel: ${error.message}`);
  process.exit(1);
}
