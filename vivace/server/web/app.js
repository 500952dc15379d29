// The page: a session, its connection, and what people press. What they see is in shown.js.

import { PRESETS, rememberPrompt, setUpAsking } from "./asking.js";
import { stayAwake } from "./awake.js";
import { keptSession } from "./kept.js";
import { Link, openSession } from "./link.js";
import { onDrop, onKeys } from "./press.js";
import { addedDelayMs, play, publish } from "./rtc.js";
import {
  addRecording, byId, savePicture, setEnabled, setState, showMarks, showNumbers, showSharing, showStrength, showTimeline, toast,
} from "./shown.js";
import { Source } from "./source.js";

const root = new URL("./", location.href);
const hash = new URLSearchParams(location.hash.slice(1));
const token = hash.get("token");
const pen = byId("edited").getContext("2d", { alpha: false });
const source = new Source(byId("source"));

const page = {
  session: null, // what POST /sessions gave
  link: null,
  rtc: null, // { publisher, player, track }
  stopSending: null,
  stats: null,
  promptId: 0,
  shownFrame: null,
  delaysMs: [],
  past: [], // instructions that reached the picture: { prompt, frame }
  upcoming: new Map(),
  isPaused: false,
  isRecording: false,
  recordingSince: null,
};
window.vivace = page; // for tests and the curious

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[sorted.length >> 1] : null;
}

function order(message) {
  if (!page.link?.send(message)) toast("not connected; trying again", true);
}

// -- session

async function start() {
  byId("pick-source").hidden = true;
  byId("change-source").hidden = false;
  byId("flip-camera").hidden = !source.canFlip;
  byId("edited-hint").textContent = "The model is warming to it …";
  const { classList } = document.querySelector(".panes");
  classList.replace("is-steering", "has-source") || classList.add("has-source");
  if (page.link) return restartTransport();
  setState("waiting", "opening");
  const before = keptSession.load();
  if (before) return join(before);
  return openNew();
}

async function openNew() {
  const steps = Number(byId("steps").value) || null;
  try {
    const opened = await openSession(
      {
        prompt: byId("prompt").value.trim() || PRESETS[0][1],
        steps,
        seed: Number(byId("seed").value) || 0,
        strength: Number(byId("strength").value) / 100,
        ...source.size,
      },
      token,
    );
    keptSession.save(opened);
    await join(opened);
  } catch (error) {
    setState("failed", "no session");
    toast(error.message, true);
    byId("pick-source").hidden = false;
  }
}

async function join(opened) {
  page.session = opened;
  const link = new Link(root, { session: opened.session, key: opened.key, frames: "jpeg" });
  page.link = link;
  link.addEventListener("message", ({ detail }) => take(detail));
  link.addEventListener("frame", ({ detail }) => draw(detail));
  link.addEventListener("down", () => setState("waiting", "reconnecting"));
  link.addEventListener("lost", async () => {
    keptSession.drop();
    leave();
    if (source.kind) await openNew();
  });
  await new Promise((done) => link.addEventListener("up", done, { once: true }));
  await restartTransport();
}

// Take over the controls of a session that has a source elsewhere.
async function steer(session, key) {
  setState("waiting", "opening");
  document.querySelector(".panes").classList.add("is-steering");
  byId("pick-lead").textContent = "Edit something else?";
  byId("pick-hint").textContent = "This session has a source of its own; one chosen here takes its place.";
  const answer = await fetch(new URL(`sessions/${session}`, root)).catch(() => null);
  if (!answer?.ok) {
    setState("failed", "no session");
    toast("there is no such session; it may have ended", true);
    return;
  }
  const { fps } = await answer.json();
  await join({ session, key, fps, ice_servers: [], can_record: true });
}

function leave() {
  stopTransport();
  page.link?.close();
  page.link = null;
  page.session = null;
  setEnabled(false);
}

function stopTransport() {
  page.stopSending?.();
  page.stopSending = null;
  page.rtc?.publisher?.close();
  page.rtc?.player.close();
  page.rtc?.track?.stop();
  page.rtc = null;
}

async function restartTransport() {
  stopTransport();
  const wanted = byId("transport").value;
  if (wanted !== "websocket" && window.RTCPeerConnection) {
    try {
      return await useWebRtc();
    } catch (error) {
      stopTransport();
      if (wanted === "webrtc") toast(`${error.message}; using WebSocket`, true);
    }
  }
  useSocket();
}

function useSocket() {
  if (!page.link) return;
  page.link.setFrames("jpeg");
  byId("edited-video").hidden = true;
  byId("edited").hidden = false;
  byId("over").textContent = "WebSocket";
  if (byId("sound").checked) toast("sound goes over WebRTC only", true);
  page.stopSending = source.sendTo(page.link, page.session.fps);
}

async function useWebRtc() {
  const { session, key, fps, ice_servers: ice } = page.session;
  const hasSound = byId("sound").checked;
  const sound = hasSound ? await source.soundTrack() : null;
  // a page that only steers has no source of its own, and hears that of the session
  const isHeard = sound !== null || (hasSound && !source.kind);
  if (hasSound && !isHeard) toast("this source has no sound", true);
  const track = source.kind ? source.track(fps) : null;
  let publisher = null;
  try {
    publisher = track && await publish(root, session, key, [track.track, sound], ice);
    byId("edited-video").muted = !isHeard;
    const player = await play(root, session, byId("edited-video"), ice, isHeard);
    page.rtc = { publisher, player, track };
  } catch (error) {
    publisher?.close();
    track?.stop();
    throw error;
  }
  page.link?.setFrames("none");
  byId("edited-video").hidden = false;
  byId("edited").hidden = true;
  byId("over").textContent = "WebRTC";
  const { player } = page.rtc;
  const { peer } = publisher ?? player;
  peer.addEventListener("connectionstatechange", () => {
    if (["failed", "disconnected"].includes(peer.connectionState) && page.rtc?.player === player) restartTransport();
  });
}

// -- what comes in

async function draw(frame) {
  const picture = await createImageBitmap(frame.jpeg).catch(() => null);
  if (!picture) return;
  const canvas = byId("edited");
  if (canvas.width !== frame.width || canvas.height !== frame.height) {
    canvas.width = frame.width;
    canvas.height = frame.height;
  }
  pen.drawImage(picture, 0, 0);
  picture.close();
  page.shownFrame = frame.index;
  page.promptId = frame.promptId;
  byId("edited-empty").hidden = true;
  const delayMs = performance.now() - frame.capturedUs / 1000;
  // a frame of a page that was reloaded carries that page's clock
  if (source.kind && delayMs > 0 && delayMs < 60_000) page.delaysMs = [...page.delaysMs.slice(-31), delayMs];
}

const takers = {
  welcome(message) {
    page.isPaused = message.is_paused;
    page.isRecording = message.is_recording;
    page.upcoming = new Map(message.timeline.map((one) => [one.prompt_id, one]));
    if (!page.past.length) page.past = [{ prompt: message.prompt, frame: null }];
    const prompt = byId("prompt");
    // what nobody has written here would change the session when it is applied
    if (prompt.value === prompt.defaultValue) prompt.value = message.prompt;
    byId("seed").value = message.seed;
    byId("steps").value = message.steps ?? "";
    showStrength(message.strength);
    if (message.width_px) {
      source.setSize(message.width_px, message.height_px);
      for (const pane of document.querySelectorAll(".pane")) {
        pane.style.setProperty("--shape", `${message.width_px} / ${message.height_px}`);
      }
    }
    setState("live", "live");
    setEnabled(true, page.session?.can_record);
    showSharing(page.session, root);
    showMarks(page);
    timeline();
    stayAwake();
  },
  prompt_accepted(message) {
    page.upcoming.set(message.prompt_id, message);
    timeline();
  },
  prompt_reached(message) {
    page.upcoming.delete(message.prompt_id);
    page.past.push({ prompt: message.prompt, frame: message.frame });
    toast(`"${message.prompt}" from frame ${message.frame} on`);
    timeline();
  },
  prompt_cancelled(message) {
    page.upcoming.delete(message.prompt_id);
    timeline();
  },
  prompt_failed(message) {
    page.upcoming.delete(message.prompt_id);
    toast(message.sentence, true);
    timeline();
  },
  controls_set(message) {
    byId("steps").value = message.steps ?? "";
    byId("seed").value = message.seed;
    showStrength(message.strength);
    if (message.is_anew) toast("the stream started anew with this seed");
  },
  pause_changed(message) {
    page.isPaused = message.is_paused;
    showMarks(page);
  },
  rewound(message) {
    page.past.push({ prompt: message.prompt, frame: message.frame });
    toast(`back by ${message.seconds.toFixed(1)} s, to frame ${message.frame}`);
    timeline();
  },
  recording_changed(message) {
    page.isRecording = message.is_recording;
    page.recordingSince = page.isRecording ? performance.now() : null;
    showMarks(page);
    if (message.recording) addRecording(message.recording, root);
  },
  stats(message) {
    page.stats = message;
    numbers();
  },
  pong() {},
  error(message) {
    toast(message.sentence, true);
  },
  ended(message) {
    keptSession.drop();
    leave();
    setState("off", "ended");
    toast(`the session ended: ${message.reason}`, true);
    byId("pick-source").hidden = false;
  },
};

function take(message) {
  takers[message.type]?.(message);
}

function timeline() {
  showTimeline(page, (promptId) => order({ type: "cancel_prompt", prompt_id: promptId }));
}

async function numbers() {
  const { stats, rtc } = page;
  // a page that only steers does not know when frames were taken
  let delayMs = source.kind ? median(page.delaysMs) : stats.delay_ms;
  if (rtc && stats.delay_ms !== null) {
    delayMs = stats.delay_ms + (await addedDelayMs(rtc.player.peer).catch(() => 0));
    byId("edited-empty").hidden = true;
  }
  showNumbers({
    stats,
    delayMs,
    over: rtc ? "WebRTC" : "WebSocket",
    frame: rtc ? stats.frames_out : (page.shownFrame ?? "–"),
    numLeftOut: source.numLeftOut,
    hasLink: page.link !== null,
    recordingSince: page.recordingSince,
  });
  if (page.upcoming.size) timeline();
}

// -- what people do

function applyPrompt(words, inS = 0) {
  const prompt = words.trim();
  if (!prompt) return;
  byId("prompt").value = prompt;
  rememberPrompt(prompt);
  if (!page.link) return;
  order(inS > 0 ? { type: "schedule_prompt", prompt, in_s: inS } : { type: "set_prompt", prompt });
}

function togglePause() { order({ type: page.isPaused ? "resume" : "pause" }); }
function toggleRecording() { order({ type: page.isRecording ? "stop_recording" : "start_recording" }); }
function rewind(seconds) { order({ type: "rewind", seconds }); }

function snapshot() {
  const video = byId("edited-video");
  let canvas = byId("edited");
  if (page.rtc) {
    canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
  }
  savePicture(canvas, `vivace-${page.shownFrame ?? Date.now()}.png`);
}

async function choose(use) {
  try {
    await use();
  } catch (error) {
    toast(error.name === "NotAllowedError" ? "the browser was not allowed to use that source" : error.message, true);
    return;
  }
  await start();
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else byId("edited-pane").requestFullscreen?.();
}

function changeControls() {
  if (!page.link) return;
  const [steps, seed, strength] = ["steps", "seed", "strength"].map((name) => Number(byId(name).value));
  order({ type: "set_controls", steps: steps || null, seed: seed || 0, strength: strength / 100 });
}

function canPress(key) {
  return page.link || ["/", "?"].includes(key);
}

byId("use-camera").onclick = () => choose(() => source.useCamera());
byId("use-screen").onclick = () => choose(() => source.useScreen(byId("sound").checked));
byId("use-clip").onchange = ({ target }) => { if (target.files[0]) choose(() => source.useClip(target.files[0])); };
byId("change-source").onclick = () => { byId("pick-source").hidden = !byId("pick-source").hidden; };
byId("flip-camera").onclick = () => choose(() => source.flipCamera());
byId("pause").onclick = togglePause;
byId("record").onclick = toggleRecording;
byId("snapshot").onclick = snapshot;
byId("full").onclick = fullScreen;
byId("share").onclick = () => byId("sharing").showModal();
byId("help").onclick = () => byId("keys").showModal();
byId("steps").onchange = changeControls;
byId("seed").onchange = changeControls;
byId("strength").onchange = changeControls;
byId("strength").oninput = ({ target }) => { byId("strength-value").textContent = `${target.value} %`; };
byId("sound").onchange = () => { if (page.link) restartTransport(); };
byId("transport").onchange = () => { if (page.link) restartTransport(); };
for (const button of document.querySelectorAll("[data-rewind]")) {
  button.onclick = () => rewind(Number(button.dataset.rewind));
}
setUpAsking(applyPrompt);
onDrop((file) => choose(() => source.useClip(file)));
onKeys({
  "/": () => byId("prompt").select(),
  " ": togglePause,
  s: snapshot,
  r: () => { if (!byId("record").disabled) toggleRecording(); },
  arrowleft: () => rewind(5),
  f: fullScreen,
  "?": () => byId("keys").showModal(),
}, canPress, applyPrompt);
document.addEventListener("visibilitychange", () => { if (!document.hidden && page.link) stayAwake(); });
if (hash.get("session") && hash.get("key")) steer(hash.get("session"), hash.get("key"));
else if (keptSession.load()) byId("pick-hint").textContent = "Your session is still there: choose a source to go on with it.";
