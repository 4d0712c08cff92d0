"""aiortc as a WHEP viewer or a WHIP publisher: an implementation of WebRTC that is nobody's browser.

    aiortc_peer.py watch|publish ENDPOINT [--rsa] [--passive] [--srtp cm|gcm] [--codec VP8|H264] [--frames N] [--seconds N]

Says one line of JSON when it is done, or when it publishes.
"""

import argparse
import asyncio
import json
import sys
import time
import urllib.parse
import urllib.request

import aioice.ice
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import AudioStreamTrack
from aiortc import rtcdtlstransport
from av import VideoFrame
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

# The server under test is on loopback only, which aioice leaves out.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


def choose_srtp(which):
    """Offers only one family of SRTP profiles in the DTLS handshake."""
    names = {
        "cm": {"SRTP_AES128_CM_SHA1_80"},
        "gcm": {"SRTP_AEAD_AES_128_GCM", "SRTP_AEAD_AES_256_GCM"},
    }[which]
    profiles = [p for p in rtcdtlstransport.SRTP_PROFILES if p.openssl_profile.decode() in names]
    if not profiles:
        sys.exit(f"this libsrtp has none of {names}")
    rtcdtlstransport.SRTP_PROFILES[:] = profiles
    return sorted(p.openssl_profile.decode() for p in profiles)


def use_rsa():
    """Certificates are RSA 2048, and servers with RSA or ECDSA are taken."""

    def generate(cls):
        key = rsa.generate_private_key(65537, 2048)
        return cls(key=key, cert=rtcdtlstransport.generate_certificate(key))

    def context(self, srtp_profiles):
        made = SSL.Context(SSL.DTLS_METHOD)
        made.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        made.use_certificate(self._cert)
        made.use_privatekey(self._key)
        made.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")
        made.set_tlsext_use_srtp(b":".join(profile.openssl_profile for profile in srtp_profiles))
        return made

    rtcdtlstransport.RTCCertificate.generateCertificate = classmethod(generate)
    rtcdtlstransport.RTCCertificate._create_ssl_context = context


def post(endpoint, sdp):
    request = urllib.request.Request(
        endpoint, data=sdp.encode(), headers={"Content-Type": "application/sdp", "Accept": "application/sdp"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.headers["Location"], response.read().decode()


def delete(endpoint, location):
    request = urllib.request.Request(urllib.parse.urljoin(endpoint, location), method="DELETE")
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.status


async def negotiate(pc, endpoint, passive):
    await pc.setLocalDescription(await pc.createOffer())
    sdp = pc.localDescription.sdp
    # Then the server is the DTLS client.
    sdp = sdp.replace("a=setup:actpass", "a=setup:passive") if passive else sdp
    location, answer = await asyncio.to_thread(post, endpoint, sdp)
    await pc.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
    return location


async def watch(options, srtp):
    pc = RTCPeerConnection()
    pc.addTransceiver("audio", direction="recvonly")
    pc.addTransceiver("video", direction="recvonly")
    seen = {"video": 0, "audio": 0}
    errors = []
    sizes = set()

    async def consume(track):
        try:
            while True:
                frame = await track.recv()
                seen[track.kind] += 1
                if track.kind == "video":
                    sizes.add((frame.width, frame.height))
        except Exception as error:  # the track has ended
            errors.append(repr(error))

    tasks = []
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(consume(track))))
    started = time.monotonic()
    location = await negotiate(pc, options.endpoint, options.passive)
    while time.monotonic() - started < options.seconds and min(seen.values()) < options.frames:
        await asyncio.sleep(0.05)
    print(
        json.dumps(
            {
                "video": seen["video"],
                "audio": seen["audio"],
                "sizes": sorted(sizes),
                "srtp": srtp,
                "connection": pc.connectionState,
                "seconds": round(time.monotonic() - started, 2),
                "errors": errors,
                "delete": await asyncio.to_thread(delete, options.endpoint, location),
            }
        ),
        flush=True,
    )
    await pc.close()


class Picture(VideoStreamTrack):
    """Moving stripes, 320 by 240."""

    def __init__(self):
        super().__init__()
        self.count = 0

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        frame = VideoFrame(320, 240, "yuv420p")
        for plane, size in zip(frame.planes, (320 * 240, 160 * 120, 160 * 120)):
            level = (self.count * 3) % 200 + 20 if size == 320 * 240 else 128
            line = plane.line_size
            plane.update(bytes([level]) * (line * plane.height))
        self.count += 1
        frame.pts = pts
        frame.time_base = time_base
        return frame


async def publish(options, srtp):
    pc = RTCPeerConnection()
    pc.addTrack(AudioStreamTrack())
    sender = pc.addTrack(Picture())
    transceiver = next(t for t in pc.getTransceivers() if t.sender is sender)
    codecs = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([c for c in codecs if c.mimeType == f"video/{options.codec}"])
    for each in pc.getTransceivers():
        each.direction = "sendonly"
    location = await negotiate(pc, options.endpoint, options.passive)
    started = time.monotonic()
    while pc.connectionState not in ("connected", "failed") and time.monotonic() - started < 30:
        await asyncio.sleep(0.05)
    print(json.dumps({"connection": pc.connectionState, "srtp": srtp}), flush=True)
    # Until the test closes our standard input.
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.to_thread(delete, options.endpoint, location)
    await pc.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["watch", "publish"])
    parser.add_argument("endpoint")
    parser.add_argument("--rsa", action="store_true")
    parser.add_argument("--passive", action="store_true")
    parser.add_argument("--srtp", choices=["cm", "gcm"], default="cm")
    parser.add_argument("--codec", default="VP8")
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=40)
    options = parser.parse_args()
    srtp = choose_srtp(options.srtp)
    if options.rsa:
        use_rsa()
    asyncio.run({"watch": watch, "publish": publish}[options.what](options, srtp))


main()
