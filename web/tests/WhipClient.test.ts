import assert from "node:assert/strict";
import { test } from "node:test";
import { Access } from "../src/client/Access";
import type { WantedLayer } from "../src/client/Api";
import { WhipClient, type WhipOptions } from "../src/client/WhipClient";
import { created, refused } from "./support/answers";
import { FakeBrowser, settled } from "./support/FakeBrowser";

const OPTIONS: WhipOptions = {
  codec: null,
  encodings: [{ rid: "f", scale: 1, maxBitrate: 1_000_000 }],
  maxFrameRate: 30,
  scalabilityMode: null,
  degradation: "balanced",
};

/** A sender that keeps its parameters and takes a moment to set them. */
class FakeSender {
  readonly transport = null;
  readonly set: number[] = [];
  track: unknown = null;
  isSetting = false;
  #finish: () => void = () => {};

  getParameters(): RTCRtpSendParameters {
    return { encodings: [{}] } as unknown as RTCRtpSendParameters;
  }

  setParameters({ encodings }: RTCRtpSendParameters): Promise<void> {
    assert.equal(this.isSetting, false, "parameters are set one after the other");
    this.isSetting = true;
    this.set.push(encodings[0]?.maxBitrate ?? 0);
    return new Promise((resolve) => (this.#finish = resolve));
  }

  async replaceTrack(track: unknown): Promise<void> {
    this.track = track;
  }

  async finish(): Promise<void> {
    this.isSetting = false;
    this.#finish();
    await settled();
  }
}

function start(post: (count: number) => Response) {
  const browser = new FakeBrowser();
  let posts = 0;
  browser.server = ({ method }) =>
    method === "POST" ? post(++posts) : new Response(null, { status: 200 });
  const senders: FakeSender[] = [];
  const create = browser.createPeer.bind(browser);
  browser.createPeer = () => {
    const peer = create();
    const addTransceiver = (): object => {
      const sender = new FakeSender();
      senders.push(sender);
      return { sender, receiver: { transport: null } };
    };
    return Object.assign(peer, { addTransceiver });
  };
  const video = { kind: "video" } as MediaStreamTrack;
  const client = new WhipClient(
    "/whip/demo",
    new Access(null),
    { video, audio: null },
    OPTIONS,
    browser,
  );
  client.start();
  return { browser, client, senders, video };
}

const busy = (): Response => refused(409, { retryAfter: "2" });

test("a taken stream is asked for again for 12 s: it may be the page's own", async () => {
  const { browser, client } = start((count) => (count <= 4 ? busy() : created(count)));
  await browser.passes(12_000);
  await browser.peer.becomes("connected");
  assert.equal(client.state, "connected");
});

test("a stream that is taken for longer is refused", async () => {
  const { browser, client } = start(busy);
  await browser.passes(60_000);
  assert.equal(client.state, "refused");
  assert.equal(client.problem?.status, 409);
  assert.ok(browser.requests.every(({ at }) => at <= 12_000));
});

test("a publisher that was connected waits for its stream for as long as it takes", async () => {
  const { browser, client } = start((count) => (count === 1 ? created(count) : busy()));
  await settled();
  await browser.peer.becomes("connected");
  await browser.passes(10_000);
  await browser.peer.becomes("failed");
  await browser.passes(120_000);
  assert.equal(client.state, "reconnecting");
  assert.equal(client.problem?.status, 409);
});

test("the patience with a taken stream begins anew with each start", async () => {
  const { browser, client } = start((count) =>
    count <= 2 || count === 4 ? busy() : created(count),
  );
  await browser.passes(8_000);
  await browser.peer.becomes("connected");
  client.stop();
  await browser.passes(60_000);
  client.start();
  await browser.passes(5_000);
  await browser.peer.becomes("connected");
  assert.equal(client.state, "connected");
});

test("parameters of the sender are set one after the other, and the newest last", async () => {
  const { client, senders } = start((count) => created(count));
  await settled();
  const [sender] = senders;
  const wanted = (max_bitrate_bps: number): WantedLayer[] => [
    {
      rid: null,
      active: true,
      max_bitrate_bps,
      max_framerate: null,
      max_spatial_layer: null,
      max_temporal_layer: null,
    },
  ];
  client.audienceWants(wanted(300_000));
  client.audienceWants(wanted(200_000));
  client.audienceWants(wanted(200_000));
  await sender?.finish();
  await sender?.finish();
  assert.deepEqual(sender?.set, [1_000_000, 200_000]);
});

test("other tracks of the same kinds need no new session; other kinds do", async () => {
  const { browser, client, senders, video } = start((count) => created(count));
  await settled();
  await browser.peer.becomes("connected");
  const other = { kind: "video" } as MediaStreamTrack;
  await client.replaceTracks({ video: other, audio: null }, OPTIONS);
  assert.equal(senders[0]?.track, other);
  assert.equal(browser.sent("POST").length, 1);
  await client.replaceTracks({ video, audio: { kind: "audio" } as MediaStreamTrack }, OPTIONS);
  await settled();
  assert.equal(browser.sent("POST").length, 2);
});
