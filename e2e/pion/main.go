// Pion as a WHIP publisher or a WHEP viewer.
//
//	pion publish ENDPOINT CODEC VIDEO-PORT AUDIO-PORT   sends the RTP that comes in at these UDP ports of 127.0.0.1
//	pion watch ENDPOINT PACKETS                         counts RTP until PACKETS packets of each kind have arrived
//
// Prints one line of JSON when it is connected or done, and ends its session at the end of its standard input.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
)

// The server answers and connects within milliseconds; a busy machine within seconds.
const patience = 40 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pion:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 5 && args[0] == "publish":
		return publish(args[1], args[2], args[3:])
	case len(args) == 3 && args[0] == "watch":
		return watch(args[1], args[2])
	}
	return fmt.Errorf("usage: pion publish ENDPOINT CODEC VIDEO-PORT AUDIO-PORT | pion watch ENDPOINT PACKETS")
}

func publish(endpoint, codec string, ports []string) error {
	peer, connected, err := newPeer()
	if err != nil {
		return err
	}
	defer peer.Close()
	for n, mime := range []string{"video/" + codec, webrtc.MimeTypeOpus} {
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, mime[:5], "pion")
		if err != nil {
			return err
		}
		if _, err = peer.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
			return err
		}
		port, err := strconv.Atoi(ports[n])
		if err != nil {
			return err
		}
		socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			return err
		}
		defer socket.Close()
		go forward(socket, track)
	}
	session, err := negotiate(peer, endpoint)
	if err != nil {
		return err
	}
	if err = inTime("connected", connected); err != nil {
		return err
	}
	say(map[string]any{"connection": peer.ConnectionState().String()})
	_, _ = io.Copy(io.Discard, os.Stdin)
	return end(session)
}

func forward(socket *net.UDPConn, track *webrtc.TrackLocalStaticRTP) {
	packet := make([]byte, 1600)
	for {
		n, err := socket.Read(packet)
		if err != nil {
			return
		}
		// Before the connection is there nothing is sent, which is no error.
		_, _ = track.Write(packet[:n])
	}
}

type seen struct {
	Codec     string `json:"codec"`
	Packets   int    `json:"packets"`
	KeyFrames int    `json:"key_frames"`
}

func watch(endpoint, wanted string) error {
	least, err := strconv.Atoi(wanted)
	if err != nil {
		return err
	}
	peer, connected, err := newPeer()
	if err != nil {
		return err
	}
	defer peer.Close()
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if _, err = peer.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return err
		}
	}
	var lock sync.Mutex
	kinds := map[string]*seen{}
	done := make(chan struct{})
	var once sync.Once
	peer.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			lock.Lock()
			kind := kinds[track.Kind().String()]
			if kind == nil {
				kind = &seen{Codec: track.Codec().MimeType}
				kinds[track.Kind().String()] = kind
			}
			kind.Packets++
			if beginsKeyFrame(kind.Codec, packet) {
				kind.KeyFrames++
			}
			video, audio := kinds["video"], kinds["audio"]
			if video != nil && audio != nil && video.Packets >= least && audio.Packets >= least && video.KeyFrames > 0 {
				once.Do(func() { close(done) })
			}
			lock.Unlock()
		}
	})
	session, err := negotiate(peer, endpoint)
	if err != nil {
		return err
	}
	if err = inTime("connected", connected); err != nil {
		return err
	}
	err = inTime(wanted+" packets of each kind and a key frame", done)
	lock.Lock()
	say(map[string]any{"connection": peer.ConnectionState().String(), "kinds": kinds})
	lock.Unlock()
	if err != nil {
		return err
	}
	return end(session)
}

// Whether a packet begins a VP8 key frame (RFC 7741 §4.3), or one of H.264: its SPS comes first, alone or in a STAP-A (RFC 6184 §5.7.1).
func beginsKeyFrame(mime string, packet *rtp.Packet) bool {
	switch {
	case strings.EqualFold(mime, webrtc.MimeTypeVP8):
		var vp8 codecs.VP8Packet
		payload, err := vp8.Unmarshal(packet.Payload)
		return err == nil && vp8.S == 1 && vp8.PID == 0 && len(payload) > 0 && payload[0]&1 == 0
	case strings.EqualFold(mime, webrtc.MimeTypeH264) && len(packet.Payload) > 3:
		kind := packet.Payload[0] & 31
		if kind == 24 { // STAP-A: the first unit's header follows its length
			kind = packet.Payload[3] & 31
		}
		return kind == 7
	}
	return false
}

func newPeer() (*webrtc.PeerConnection, <-chan struct{}, error) {
	peer, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, nil, err
	}
	connected := make(chan struct{})
	var once sync.Once
	peer.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(connected) })
		}
	})
	return peer, connected, nil
}

func inTime(what string, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("not within %v: %s", patience, what)
	}
}

// Offers, and takes the answer. Returns the session's address.
func negotiate(peer *webrtc.PeerConnection, endpoint string) (string, error) {
	offer, err := peer.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(peer)
	if err = peer.SetLocalDescription(offer); err != nil {
		return "", err
	}
	<-gathered
	response, err := http.Post(endpoint, "application/sdp", strings.NewReader(peer.LocalDescription().SDP))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("%s: %s", response.Status, answer)
	}
	base, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	session, err := base.Parse(response.Header.Get("Location"))
	if err != nil {
		return "", err
	}
	return session.String(), peer.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(answer)})
}

func end(session string) error {
	request, err := http.NewRequest(http.MethodDelete, session, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("DELETE: %s", response.Status)
	}
	return nil
}

func say(what any) {
	line, err := json.Marshal(what)
	if err == nil {
		fmt.Println(string(line))
	}
}
