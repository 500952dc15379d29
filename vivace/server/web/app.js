// The page: what people see and press. Pictures and messages go through source.js, link.js and rtc.js.

import { Link, openSession } from "./link.js";
import { addedDelayMs, play, publish } from "./rtc.js";
import { Source } from "./source.js";

const PRESETS = [
  "make it a snowy night",
  "turn it into an oil painting",
  "turn it into a pencil sketch",
  "make it look like an old movie",
  "make it foggy",
  "make it autumn",
];
const KEPT_KEY = "vivace-session";
const HISTORY_KEY = "vivace-history";
const MAX_HISTORY = 20;
const MAX_SHOWN_PAST = 4;

const root = new URL("./", location.href);
const byId = (name) => document.getElementById(name);
const token = new URLSearchParams(location.hash.slice(1)).get("token");
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
};
window.vivace = page; // for tests and the curious

// -- small things

function toast(text, isBad = false) {
  const note = document.createElement("div");
  note.className = isBad ? "toast bad" : "toast";
  note.textContent = text;
  byId("toasts").append(note);
  setTimeout(() => note.remove(), isBad ? 6000 : 3500);
}

function setState(state, text) {
  byId("state").dataset.state = state;
  byId("state").textContent = text;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[sorted.length >> 1] : null;
}

const kept = {
  load(key) { try { return JSON.parse(sessionStorage.getItem(key)); } catch { return null; } },
  save(key, value) { try { sessionStorage.setItem(key, JSON.stringify(value)); } catch { /* private mode */ } },
  drop(key) { try { sessionStorage.removeItem(key); } catch { /* private mode */ } },
};

function order(message) {
  if (!page.link?.sendNow(message)) toast("not connected; trying again", true);
}

// -- session

async function start() {
  byId("pick-source").hidden = true;
  byId("change-source").hidden = false;
  document.querySelector(".panes").classList.add("has-source");
  if (page.link) return restartTransport();
  setState("waiting", "opening");
  const before = kept.load(KEPT_KEY);
  if (before) return join(before);
  return openNew();
}

async function openNew() {
  const steps = Number(byId("steps").value) || null;
  try {
    const opened = await openSession(
      {
        prompt: byId("prompt").value.trim() || PRESETS[0],
        steps,
        seed: Number(byId("seed").value) || 0,
        strength: Number(byId("strength").value) / 100,
        ...source.size,
      },
      token,
    );
    kept.save(KEPT_KEY, opened);
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
    kept.drop(KEPT_KEY);
    leave();
    if (source.kind) await openNew();
  });
  await new Promise((done) => link.addEventListener("up", done, { once: true }));
  await restartTransport();
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
  page.rtc?.publisher.close();
  page.rtc?.player.close();
  page.rtc?.track.stop();
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
  if (hasSound && !sound) toast("this source has no sound", true);
  const track = source.track(fps);
  let publisher = null;
  try {
    publisher = await publish(root, session, key, [track.track, sound], ice);
    byId("edited-video").muted = !sound;
    const player = await play(root, session, byId("edited-video"), ice, sound !== null);
    page.rtc = { publisher, player, track };
  } catch (error) {
    publisher?.close();
    track.stop();
    throw error;
  }
  page.link?.setFrames("none");
  byId("edited-video").hidden = false;
  byId("edited").hidden = true;
  byId("over").textContent = "WebRTC";
  const lost = () => { if (page.rtc?.publisher === publisher) restartTransport(); };
  publisher.peer.addEventListener("connectionstatechange", () => {
    if (["failed", "disconnected"].includes(publisher.peer.connectionState)) lost();
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
  if (delayMs > 0 && delayMs < 60_000) page.delaysMs = [...page.delaysMs.slice(-31), delayMs];
}

const takers = {
  welcome(message) {
    page.isPaused = message.is_paused;
    page.isRecording = message.is_recording;
    page.upcoming = new Map(message.timeline.map((one) => [one.prompt_id, one]));
    if (!page.past.length) page.past = [{ prompt: message.prompt, frame: null }];
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
    setEnabled(true);
    showSharing();
    showMarks();
    showTimeline();
  },
  prompt_accepted(message) {
    page.upcoming.set(message.prompt_id, message);
    showTimeline();
  },
  prompt_reached(message) {
    page.upcoming.delete(message.prompt_id);
    page.past.push({ prompt: message.prompt, frame: message.frame });
    toast(`"${message.prompt}" from frame ${message.frame} on`);
    showTimeline();
  },
  prompt_cancelled(message) {
    page.upcoming.delete(message.prompt_id);
    showTimeline();
  },
  prompt_failed(message) {
    page.upcoming.delete(message.prompt_id);
    toast(message.sentence, true);
    showTimeline();
  },
  controls_set(message) {
    byId("steps").value = message.steps ?? "";
    byId("seed").value = message.seed;
    showStrength(message.strength);
    if (message.is_anew) toast("the stream started anew with this seed");
  },
  pause_changed(message) {
    page.isPaused = message.is_paused;
    showMarks();
  },
  rewound(message) {
    page.past.push({ prompt: message.prompt, frame: message.frame });
    toast(`back by ${message.seconds.toFixed(1)} s, to frame ${message.frame}`);
    showTimeline();
  },
  recording_changed(message) {
    page.isRecording = message.is_recording;
    showMarks();
    if (message.recording) addRecording(message.recording);
  },
  stats(message) {
    page.stats = message;
    showStats();
  },
  pong() {},
  error(message) {
    toast(message.sentence, true);
  },
  ended(message) {
    kept.drop(KEPT_KEY);
    leave();
    setState("off", "ended");
    toast(`the session ended: ${message.reason}`, true);
    byId("pick-source").hidden = false;
  },
};

function take(message) {
  takers[message.type]?.(message);
}

// -- what is shown

function setEnabled(isEnabled) {
  for (const name of ["pause", "snapshot", "record", "share"]) byId(name).disabled = !isEnabled;
  for (const button of document.querySelectorAll("[data-rewind]")) button.disabled = !isEnabled;
  if (isEnabled && page.session?.can_record === false) byId("record").disabled = true;
}

function showMarks() {
  byId("pause").textContent = page.isPaused ? "Go on" : "Pause";
  byId("pause").setAttribute("aria-pressed", page.isPaused);
  byId("paused-mark").hidden = !page.isPaused;
  byId("record").textContent = page.isRecording ? "Stop" : "Record";
  byId("record").setAttribute("aria-pressed", page.isRecording);
  byId("recording-mark").hidden = !page.isRecording;
}

function item(className, prompt, detail, cancel) {
  const line = document.createElement("li");
  line.className = className;
  const words = document.createElement("b");
  words.textContent = prompt;
  const small = document.createElement("small");
  small.textContent = detail;
  line.append(words, small);
  if (cancel) {
    const button = document.createElement("button");
    button.textContent = "×";
    button.setAttribute("aria-label", `cancel ${prompt}`);
    button.onclick = cancel;
    line.append(button);
  }
  return line;
}

function showStrength(strength) {
  byId("strength").value = Math.round(100 * strength);
  byId("strength-value").textContent = `${Math.round(100 * strength)} %`;
}

function showTimeline() {
  const past = page.past.slice(-MAX_SHOWN_PAST);
  const lines = past.map(({ prompt, frame }, index) => {
    const isNow = index === past.length - 1;
    const from = frame === null ? "from the start" : `from frame ${frame}`;
    return item(isNow ? "now" : "", prompt, isNow ? `now, ${from}` : from);
  });
  const upcoming = [...page.upcoming.values()].sort((a, b) => a.at_s - b.at_s);
  for (const one of upcoming) {
    const inS = Math.max(0, one.at_s - (page.stats?.stream_s ?? one.at_s));
    const when = inS < 0.5 ? "with the next chunk" : `in ${inS.toFixed(0)} s`;
    lines.push(item("next", one.prompt, when, () => order({ type: "cancel_prompt", prompt_id: one.prompt_id })));
  }
  byId("timeline").replaceChildren(...lines);
  byId("now-following").textContent = past.at(-1)?.prompt ?? "";
}

async function showStats() {
  const stats = page.stats;
  const over = page.rtc ? "WebRTC" : "WebSocket";
  let delayMs = median(page.delaysMs);
  if (page.rtc && stats.delay_ms !== null) {
    delayMs = stats.delay_ms + (await addedDelayMs(page.rtc.player.peer).catch(() => 0));
    byId("edited-empty").hidden = true;
  }
  byId("fps-out").textContent = stats.fps_out.toFixed(1);
  byId("fps-in").textContent = stats.fps_in.toFixed(1);
  byId("delay").textContent = delayMs === null ? "–" : `${delayMs.toFixed(0)} ms`;
  byId("buffering").textContent = stats.buffering_ms === null ? "–" : `${stats.buffering_ms.toFixed(0)} ms`;
  byId("dropped").textContent = stats.frames_dropped + source.numLeftOut;
  byId("state-bytes").textContent = `${(stats.state_bytes / 2 ** 20).toFixed(1)} MiB`;
  byId("frame").textContent = page.rtc ? stats.frames_out : (page.shownFrame ?? "–");
  byId("over").textContent = over;
  byId("rate-note").textContent =
    `The model edits ${stats.native_fps} frames a second; the source is brought to that rate by its timestamps` +
    (stats.frames_dropped ? `, and ${stats.frames_dropped} frames were left out because the model was busy.` : ".");
  for (const button of document.querySelectorAll("[data-rewind]")) {
    button.disabled = !page.link || stats.rewind_s < 0.5;
  }
  if (page.upcoming.size) showTimeline();
}

function showSharing() {
  const { session, key } = page.session;
  byId("share-view").value = new URL(`view/${session}`, root).href;
  byId("share-whep").value = new URL(`whep/${session}`, root).href;
  byId("share-whip").value = new URL(`whip/${session}`, root).href;
  byId("share-key").value = key;
}

function addRecording(name) {
  const link = document.createElement("a");
  link.href = new URL(`recordings/${name}`, root).href;
  link.download = "vivace.mp4";
  link.textContent = `recording ${byId("recordings").childElementCount + 1}`;
  byId("recordings").append(link);
  toast("the recording is ready below");
}

function showHistory() {
  const words = kept.load(HISTORY_KEY) ?? [];
  byId("history").replaceChildren(...words.map((one) => Object.assign(document.createElement("option"), { value: one })));
}

// -- what people do

function applyPrompt(words, inS = 0) {
  const prompt = words.trim();
  if (!prompt) return;
  byId("prompt").value = prompt;
  const before = (kept.load(HISTORY_KEY) ?? []).filter((one) => one !== prompt);
  kept.save(HISTORY_KEY, [prompt, ...before].slice(0, MAX_HISTORY));
  showHistory();
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
    canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
  }
  canvas.toBlob((png) => {
    if (!png) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(png);
    link.download = `vivace-${page.shownFrame ?? Date.now()}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    toast("snapshot saved");
  }, "image/png");
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

function changeControls() {
  if (!page.link) return;
  const steps = Number(byId("steps").value) || null;
  const strength = Number(byId("strength").value) / 100;
  order({ type: "set_controls", steps, seed: Number(byId("seed").value) || 0, strength });
}

function onKey(event) {
  if (event.target.closest("input, select, textarea, dialog[open]")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const preset = PRESETS[Number(event.key) - 1];
  const actions = {
    "/": () => byId("prompt").select(),
    " ": togglePause,
    s: snapshot,
    r: () => { if (!byId("record").disabled) toggleRecording(); },
    ArrowLeft: () => rewind(5),
    f: () => byId("edited-pane").requestFullscreen?.(),
    "?": () => byId("keys").showModal(),
  };
  const action = preset ? () => applyPrompt(preset) : actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || (!page.link && !["/", "?"].includes(event.key) && !preset)) return;
  event.preventDefault();
  action();
}

byId("use-camera").onclick = () => choose(() => source.useCamera());
byId("use-screen").onclick = () => choose(() => source.useScreen(byId("sound").checked));
byId("use-clip").onchange = ({ target }) => { if (target.files[0]) choose(() => source.useClip(target.files[0])); };
byId("change-source").onclick = () => { byId("pick-source").hidden = false; };
byId("prompt-form").onsubmit = (event) => {
  event.preventDefault();
  applyPrompt(byId("prompt").value, Number(byId("prompt-delay").value) || 0);
};
byId("pause").onclick = togglePause;
byId("record").onclick = toggleRecording;
byId("snapshot").onclick = snapshot;
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
for (const input of document.querySelectorAll("#sharing input")) input.onfocus = () => input.select();
byId("presets").replaceChildren(...PRESETS.map((words) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = words;
  button.onclick = () => applyPrompt(words);
  return button;
}));
document.addEventListener("keydown", onKey);
showHistory();
