"""GStreamer's webrtcbin as a WHIP publisher or a WHEP viewer.

    gst_peer.py publish ENDPOINT [--codec VP8|VP9|H264] [--bundle none|max-bundle]
    gst_peer.py watch ENDPOINT [--codec VP8|VP9|H264] [--bundle none|max-bundle] [--frames N] [--server-offers]
    gst_peer.py --elements    ends with 1 if an element is missing, and names it

Says one line of JSON when it is connected or done, and ends its session at the end of its standard input. Needs Debian's
GStreamer and its Python bindings.
"""

import argparse
import json
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

# The server answers and connects within milliseconds; a busy machine within seconds.
PATIENCE_SECONDS = 40

PAYLOAD_TYPES = {"VP8": 101, "VP9": 102, "H264": 103, "OPUS": 96}
SENDERS = {
    "VP8": "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=25 target-bitrate=400000 ! rtpvp8pay pt=101 picture-id-mode=2",
    "VP9": "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=25 target-bitrate=400000 ! rtpvp9pay pt=102 picture-id-mode=2",
    "H264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max=25 "
    "! video/x-h264,profile=constrained-baseline ! rtph264pay pt=103 config-interval=-1 aggregate-mode=zero-latency",
}


class Peer:
    def __init__(self, options, pipeline):
        self.options = options
        self.pipeline = Gst.parse_launch(pipeline) if pipeline else Gst.Pipeline()
        self.webrtc = self.pipeline.get_by_name("webrtc") or Gst.ElementFactory.make("webrtcbin", "webrtc")
        if not self.webrtc.get_parent():
            self.pipeline.add(self.webrtc)
        self.webrtc.set_property("bundle-policy", options.bundle)
        self.session = None
        self.problem = None
        self.loop = GLib.MainLoop()
        # Python's bindings free what C still uses, unless it is kept.
        self.kept = []
        self.offered = False
        self.posted = False
        self.is_published = False
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, message: self.fail(" ".join(map(str, message.parse_error()))))
        self.webrtc.connect("notify::ice-gathering-state", lambda *_: GLib.idle_add(self.gathered))
        self.webrtc.connect("notify::connection-state", lambda *_: GLib.idle_add(self.changed))

    def fail(self, problem):
        self.problem = self.problem or problem
        self.loop.quit()

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add_seconds(PATIENCE_SECONDS, self.late)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        if self.session:
            urllib.request.urlopen(urllib.request.Request(self.session, method="DELETE"), timeout=30).close()
        if self.problem:
            sys.exit(f"GStreamer: {self.problem}")

    def late(self):
        # How long it publishes is for the test to say.
        if not self.is_published:
            self.fail(f"not within {PATIENCE_SECONDS} s: {self.state()}")
        return False

    def state(self):
        return self.webrtc.get_property("connection-state").value_nick

    def changed(self):
        if self.state() == "connected":
            self.connected()
        elif self.state() == "failed":
            self.fail("the connection failed")

    def connected(self):
        pass

    # ---- offer and answer

    def offer(self, *_):
        if not self.offered:
            self.offered = True
            self.describe("create-offer", "offer")

    def describe(self, action, name):
        promise = Gst.Promise.new_with_change_func(self.described, name, None)
        self.kept.append(promise)
        self.webrtc.emit(action, None, promise)

    def described(self, promise, name, _=None):
        reply = promise.get_reply()
        made = reply.get_value(name)
        self.kept += [reply, made]
        # The reply owns its contents, so the description has to be copied.
        self.webrtc.emit("set-local-description", self.description(made.type, made.sdp.as_text()), Gst.Promise.new())

    def description(self, kind, text):
        _, message = GstSdp.SDPMessage.new()
        GstSdp.sdp_message_parse_buffer(text.encode(), message)
        description = GstWebRTC.WebRTCSessionDescription.new(kind, message)
        self.kept += [message, description]
        return description

    def gathered(self):
        if self.posted or self.webrtc.get_property("ice-gathering-state").value_nick != "complete":
            return
        self.posted = True
        local = self.webrtc.get_property("local-description").sdp.as_text()
        if self.session:
            self.http("PATCH", self.session, local, 204)
            return
        response = self.http("POST", self.options.endpoint, local, 201)
        if response:
            self.take(GstWebRTC.WebRTCSDPType.ANSWER, response)

    def http(self, method, url, body, status):
        headers = {"Content-Type": "application/sdp"} if body else {}
        request = urllib.request.Request(url, body.encode() or None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                text = response.read().decode()
                if response.status != status:
                    self.fail(f"{method}: {response.status} {text}")
                    return None
                if method == "POST":
                    self.session = urllib.parse.urljoin(url, response.headers["Location"])
                return text
        except urllib.error.HTTPError as error:
            self.fail(f"{method}: {error.code} {error.read().decode()}")
            return None

    def take(self, kind, text, then=None):
        promise = Gst.Promise.new_with_change_func(lambda *_: then(), None) if then else Gst.Promise.new()
        self.kept.append(promise)
        self.webrtc.emit("set-remote-description", self.description(kind, text), promise)


class Publisher(Peer):
    def __init__(self, options):
        super().__init__(
            options,
            "webrtcbin name=webrtc "
            f"videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! {SENDERS[options.codec]} "
            f"! application/x-rtp,media=video,encoding-name={options.codec},payload={PAYLOAD_TYPES[options.codec]} ! queue ! webrtc. "
            "audiotestsrc is-live=true ! audioconvert ! audioresample ! audio/x-raw,channels=2,rate=48000 ! opusenc ! rtpopuspay pt=96 "
            "! application/x-rtp,media=audio,encoding-name=OPUS,payload=96 ! queue ! webrtc. ",
        )
        self.webrtc.connect("on-negotiation-needed", self.offer)
        for transceiver in (self.webrtc.emit("get-transceiver", n) for n in range(2)):
            transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)

    def connected(self):
        self.is_published = True
        print(json.dumps({"connection": self.state()}), flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), GLib.idle_add(self.loop.quit)), daemon=True).start()


class Viewer(Peer):
    """As the elements `whepsrc` and `whepclientsrc` do it: one transceiver of each kind that receives, with plain caps."""

    def __init__(self, options):
        super().__init__(options, None)
        self.seen = {"video": 0, "audio": 0}
        self.webrtc.connect("pad-added", self.added)
        if options.server_offers:
            GLib.idle_add(self.ask)
            return
        for media, codec, rate in (("audio", "OPUS", 48000), ("video", options.codec, 90000)):
            caps = Gst.Caps.from_string(
                f"application/x-rtp,media={media},encoding-name={codec},payload={PAYLOAD_TYPES[codec]},clock-rate={rate}"
            )
            self.webrtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, caps)
        self.webrtc.connect("on-negotiation-needed", self.offer)

    def ask(self):
        offer = self.http("POST", self.options.endpoint, "", 201)
        if offer:
            self.take(GstWebRTC.WebRTCSDPType.OFFER, offer, lambda: self.describe("create-answer", "answer"))

    def added(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        decoder = Gst.ElementFactory.make("decodebin")
        decoder.connect("pad-added", self.decoded)
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def decoded(self, _, pad):
        kind = pad.get_current_caps().get_structure(0).get_name().split("/")[0]
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("sync", False)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.add_probe(Gst.PadProbeType.BUFFER, lambda *_: self.count(kind))
        pad.link(sink.get_static_pad("sink"))

    def count(self, kind):
        self.seen[kind] += 1
        if min(self.seen.values()) == self.options.frames:
            GLib.idle_add(self.done)
        return Gst.PadProbeReturn.OK

    def done(self):
        print(json.dumps({"connection": self.state(), **self.seen}), flush=True)
        self.loop.quit()

    def state(self):
        return f"{super().state()}" if min(self.seen.values()) else f"{super().state()}, {self.seen}"


ELEMENTS = "webrtcbin nicesrc dtlsdec srtpdec vp8enc vp9enc x264enc opusenc vp8dec openh264dec rtpopuspay videotestsrc audiotestsrc".split()


def main():
    Gst.init(None)
    if sys.argv[1:] == ["--elements"]:
        missing = [name for name in ELEMENTS if not Gst.ElementFactory.find(name)]
        sys.exit(f"GStreamer lacks {', '.join(missing)}" if missing else 0)
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["publish", "watch"])
    parser.add_argument("endpoint")
    parser.add_argument("--codec", choices=sorted(SENDERS), default="VP8")
    parser.add_argument("--bundle", choices=["none", "max-bundle"], default="max-bundle")
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--server-offers", action="store_true")
    options = parser.parse_args()
    {"publish": Publisher, "watch": Viewer}[options.what](options).run()


main()
