/** WHEP by hand, from a script in a page without any of ours: what other players do. */

/** Installs `window.whep` in a page: functions that run there. */
export async function installPeer(page) {
  await page.evaluate(() => {
    const headers = { "Content-Type": "application/sdp", Accept: "application/sdp" };

    /** Shows what a connection receives, and counts its frames. */
    const show = (pc) => {
      const video = document.createElement("video");
      video.muted = true;
      video.autoplay = true;
      video.srcObject = new MediaStream();
      document.body.append(video);
      pc.ontrack = ({ track }) => video.srcObject.addTrack(track);
      const onframe = () => {
        whep.frames += 1;
        video.requestVideoFrameCallback(onframe);
      };
      video.requestVideoFrameCallback(onframe);
    };

    const opened = async (response) => {
      const sdp = await response.text();
      if (response.status !== 201) throw new Error(`${response.status}: ${sdp}`);
      whep.location = new URL(response.headers.get("location"), response.url).href;
      whep.etag = response.headers.get("etag");
      return sdp;
    };

    /** The parts of a description that an SDP fragment carries (RFC 8840). */
    const fragmentOf = (sdp) => {
      const lines = sdp.split(/\r?\n/);
      const first = (pattern) => lines.find((line) => pattern.test(line));
      return [
        first(/^a=ice-ufrag:/),
        first(/^a=ice-pwd:/),
        first(/^m=/),
        first(/^a=mid:/),
        ...lines.filter((line) => /^a=candidate:/.test(line)),
        "a=end-of-candidates",
        "",
      ].filter((line) => line !== undefined).join("\r\n");
    };

    window.whep = {
      frames: 0,
      pc: null,
      location: null,
      etag: null,

      /** We offer. */
      async offer(endpoint) {
        const pc = (whep.pc = new RTCPeerConnection());
        for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
        show(pc);
        await pc.setLocalDescription();
        const answer = await opened(await fetch(endpoint, { method: "POST", headers, body: pc.localDescription.sdp }));
        await pc.setRemoteDescription({ type: "answer", sdp: answer });
      },

      /** The server offers. */
      async answer(endpoint) {
        const pc = (whep.pc = new RTCPeerConnection());
        show(pc);
        const offer = await opened(await fetch(endpoint, { method: "POST", headers: { Accept: "application/sdp" } }));
        await pc.setRemoteDescription({ type: "offer", sdp: offer });
        await pc.setLocalDescription();
        const response = await fetch(whep.location, { method: "PATCH", headers, body: pc.localDescription.sdp });
        return { status: response.status, offer };
      },

      /** A new ICE session for the same connection (RFC 9725 §4.3.3). */
      async restart() {
        const { pc } = whep;
        const before = pc.remoteDescription.sdp;
        const offer = await pc.createOffer({ iceRestart: true });
        await pc.setLocalDescription(offer);
        const response = await fetch(whep.location, {
          method: "PATCH",
          headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" },
          body: fragmentOf(pc.localDescription.sdp),
        });
        const fragment = await response.text();
        if (response.status !== 200) return { status: response.status, fragment };
        const value = (name) => new RegExp(`^a=${name}:(\\S+)`, "m").exec(fragment)?.[1];
        const candidates = fragment.split(/\r?\n/).filter((line) => /^a=candidate:/.test(line));
        const after = before
          .replace(/^a=ice-ufrag:.*$/gm, `a=ice-ufrag:${value("ice-ufrag")}`)
          .replace(/^a=ice-pwd:.*$/gm, `a=ice-pwd:${value("ice-pwd")}`)
          .replace(/^a=candidate:.*\r?\n/gm, "")
          .replace(/^a=end-of-candidates\r?\n/gm, "")
          .replace(/^(a=mid:.*\r?\n)/m, `$1${candidates.map((line) => `${line}\r\n`).join("")}`);
        await pc.setRemoteDescription({ type: "answer", sdp: after });
        return {
          status: 200,
          type: response.headers.get("content-type"),
          etag: response.headers.get("etag"),
          oldEtag: whep.etag,
          ufragChanged: !before.includes(`a=ice-ufrag:${value("ice-ufrag")}`),
        };
      },

      async patch(body, more) {
        const response = await fetch(whep.location, { method: "PATCH", headers: { "Content-Type": "application/trickle-ice-sdpfrag", ...more }, body });
        return { status: response.status, body: await response.text() };
      },

      async remove() {
        return (await fetch(whep.location, { method: "DELETE" })).status;
      },

      transport: () => whep.pc.getReceivers()[0]?.transport?.state ?? null,

      /** The local ICE credentials that the nominated pair was checked with. */
      async pair() {
        const reports = [...(await whep.pc.getStats()).values()];
        const transport = reports.find(({ type }) => type === "transport");
        return {
          ufrag: transport?.iceLocalUsernameFragment ?? null,
          ice: transport?.iceState ?? null,
          dtls: transport?.dtlsState ?? null,
          srtp: transport?.srtpCipher ?? null,
          bytes: transport?.bytesReceived ?? 0,
        };
      },
    };
  });
}
