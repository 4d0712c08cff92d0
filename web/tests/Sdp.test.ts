import assert from "node:assert/strict";
import { test } from "node:test";
import { fragmentFromSdp, graftFragment } from "../src/client/IceFragment";
import { withStereo } from "../src/client/WhepClient";
import { withStartBitrate } from "../src/client/WhipClient";

const lines = (...all: string[]): string => all.join("\r\n") + "\r\n";

const SDP = lines(
  "v=0",
  "a=ice-lite",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111",
  "a=mid:0",
  "a=ice-ufrag:old",
  "a=ice-pwd:oldpassword",
  "a=candidate:1 1 udp 1 10.0.0.1 7882 typ host",
  "a=rtpmap:111 opus/48000/2",
  "a=fmtp:111 minptime=10;useinbandfec=1",
  "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
  "a=mid:1",
  "a=ice-ufrag:old",
  "a=ice-pwd:oldpassword",
  "a=rtpmap:96 VP8/90000",
  "a=rtpmap:97 rtx/90000",
  "a=fmtp:97 apt=96",
);

test("a fragment carries credentials, the first section and its candidates", () => {
  assert.equal(
    fragmentFromSdp(SDP),
    lines(
      "a=ice-ufrag:old",
      "a=ice-pwd:oldpassword",
      "m=audio 9 UDP/TLS/RTP/SAVPF 111",
      "a=mid:0",
      "a=candidate:1 1 udp 1 10.0.0.1 7882 typ host",
    ),
  );
});

test("a restart's answer replaces credentials everywhere and candidates once", () => {
  const fragment = lines(
    "a=ice-ufrag:new",
    "a=ice-pwd:newpassword",
    "a=candidate:2 1 udp 1 10.0.0.2 7882 typ host",
  );
  const grafted = graftFragment(SDP, fragment);
  assert.doesNotMatch(grafted, /old/);
  assert.equal(grafted.match(/a=ice-ufrag:new/g)?.length, 2);
  assert.deepEqual(grafted.match(/a=candidate.*/g), [
    "a=candidate:2 1 udp 1 10.0.0.2 7882 typ host",
  ]);
  assert.ok(grafted.indexOf("a=candidate") < grafted.indexOf("m=video"));
  assert.ok(grafted.endsWith("\r\n"));
});

test("a restart's candidates go to the first section that is not rejected", () => {
  const rejected = lines(
    "v=0",
    "m=audio 0 X 0",
    "a=ice-ufrag:old",
    "m=video 9 X 96",
    "a=ice-ufrag:old",
    "a=ice-pwd:old",
  );
  const fragment = lines(
    "a=ice-ufrag:new",
    "a=ice-pwd:new",
    "a=candidate:1 1 udp 1 10.0.0.2 7882 typ host",
  );
  assert.match(
    graftFragment(rejected, fragment),
    /m=video 9 X 96\r\na=ice-ufrag:new\r\na=ice-pwd:new\r\na=candidate:1 /,
  );
});

test("an answer without new credentials changes nothing", () => {
  assert.equal(graftFragment(SDP, ""), SDP);
});

test("stereo is asked for once, and only where there is Opus", () => {
  const stereo = withStereo(SDP);
  assert.match(stereo, /^a=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r$/m);
  assert.equal(withStereo(stereo), stereo);
  assert.equal(withStereo("v=0\r\n"), "v=0\r\n");
});

test("the start bitrate goes to the first video codec, with or without parameters", () => {
  const bare = withStartBitrate(SDP, 1_200_000);
  assert.match(bare, /a=rtpmap:96 VP8\/90000\r\na=fmtp:96 x-google-start-bitrate=1200\r\n/);
  const h264 = SDP.replace(
    "a=rtpmap:96 VP8/90000",
    "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1",
  );
  assert.match(
    withStartBitrate(h264, 800_000),
    /a=fmtp:96 packetization-mode=1;x-google-start-bitrate=800\r\n/,
  );
});
