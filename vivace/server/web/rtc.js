// WebRTC by WHIP and WHEP: one offer, one answer, no trickling. Knows nothing of the page.

const GATHERING_MS = 1500;
const CONNECT_MS = 6000;

async function gathered(peer) {
  if (peer.iceGatheringState === "complete") return;
  await new Promise((done) => {
    const timer = setTimeout(done, GATHERING_MS);
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState === "complete") { clearTimeout(timer); done(); }
    });
  });
}

function connected(peer) {
  return new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error("no WebRTC connection in time")), CONNECT_MS);
    const check = () => {
      if (peer.connectionState === "connected") { clearTimeout(timer); done(); }
      if (peer.connectionState === "failed") { clearTimeout(timer); fail(new Error("WebRTC could not connect")); }
    };
    peer.addEventListener("connectionstatechange", check);
    check();
  });
}

async function negotiate(peer, address, key) {
  await peer.setLocalDescription(await peer.createOffer());
  await gathered(peer);
  const headers = { "content-type": "application/sdp" };
  if (key) headers.authorization = `Bearer ${key}`;
  const answer = await fetch(address, { method: "POST", headers, body: peer.localDescription.sdp });
  if (answer.status !== 201) throw new Error(`WebRTC was refused with ${answer.status}`);
  await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  return new URL(answer.headers.get("location"), address);
}

function closer(peer, resource, key) {
  return () => {
    peer.close();
    const headers = key ? { authorization: `Bearer ${key}` } : {};
    if (resource) fetch(resource, { method: "DELETE", headers, keepalive: true }).catch(() => {});
  };
}

export async function publish(root, session, key, tracks, iceServers) {
  const peer = new RTCPeerConnection({ iceServers });
  let resource = null;
  try {
    for (const track of tracks) if (track) peer.addTransceiver(track, { direction: "sendonly" });
    resource = await negotiate(peer, new URL(`whip/${session}`, root), key);
    await connected(peer);
  } catch (error) {
    closer(peer, resource, key)();
    throw error;
  }
  return { peer, close: closer(peer, resource, key) };
}

export async function play(root, session, video, iceServers, hasSound) {
  const peer = new RTCPeerConnection({ iceServers });
  let resource = null;
  try {
    const shown = new MediaStream();
    peer.addTransceiver("video", { direction: "recvonly" });
    if (hasSound) peer.addTransceiver("audio", { direction: "recvonly" });
    peer.ontrack = ({ track, receiver }) => {
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      shown.addTrack(track);
      video.srcObject = shown;
    };
    resource = await negotiate(peer, new URL(`whep/${session}`, root), null);
    await connected(peer);
  } catch (error) {
    closer(peer, resource, null)();
    throw error;
  }
  return { peer, close: closer(peer, resource, null) };
}

// Milliseconds that the network and the receiver's buffer add, as the browser measures them.
export async function addedDelayMs(peer) {
  let roundTrip = 0;
  let buffer = 0;
  for (const report of (await peer.getStats()).values()) {
    if (report.type === "candidate-pair" && report.nominated) roundTrip = report.currentRoundTripTime ?? 0;
    if (report.type === "inbound-rtp" && report.jitterBufferEmittedCount) {
      buffer = report.jitterBufferDelay / report.jitterBufferEmittedCount;
    }
  }
  return 1000 * (roundTrip + buffer);
}
