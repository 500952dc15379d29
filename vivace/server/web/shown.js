// What people see of a session: state, marks, timeline and numbers. Reads the page's state, changes none of it.

const MAX_PAST = 4;
const LINE_S = 60;
const MIB = 2 ** 20;

export const byId = (name) => document.getElementById(name);

export function toast(text, isBad = false) {
  const note = document.createElement("div");
  note.className = isBad ? "toast bad" : "toast";
  note.textContent = text;
  byId("toasts").append(note);
  setTimeout(() => note.remove(), isBad ? 6000 : 3500);
}

export function setState(state, text) {
  byId("state").dataset.state = state;
  byId("state").textContent = text;
  document.body.classList.toggle("is-live", state === "live");
}

export function setEnabled(isEnabled, canRecord) {
  for (const name of ["pause", "snapshot", "record", "share"]) byId(name).disabled = !isEnabled;
  for (const button of document.querySelectorAll("[data-rewind]")) button.disabled = !isEnabled;
  if (isEnabled && canRecord === false) byId("record").disabled = true;
}

function relabel(name, icon, text) {
  byId(name).querySelector("use").setAttribute("href", `#i-${icon}`);
  byId(name).querySelector("span").textContent = text;
}

export function showMarks({ isPaused, isRecording, recordingSince }) {
  relabel("pause", isPaused ? "go" : "pause", isPaused ? "Go on" : "Pause");
  byId("pause").setAttribute("aria-pressed", isPaused);
  byId("paused-mark").hidden = !isPaused;
  relabel("record", isRecording ? "stop" : "record", isRecording ? "Stop" : "Record");
  byId("record").setAttribute("aria-pressed", isRecording);
  byId("recording-mark").hidden = !isRecording;
  showRecordingTime(recordingSince);
}

function showRecordingTime(since) {
  const seconds = since === null ? 0 : Math.floor((performance.now() - since) / 1000);
  byId("recording-time").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function item(className, prompt, detail, cancel) {
  const line = document.createElement("li");
  line.className = className;
  const words = document.createElement("b");
  words.textContent = words.title = prompt;
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

export function showTimeline({ past, upcoming, stats }, cancel) {
  const latest = past.slice(-MAX_PAST);
  const lines = latest.map(({ prompt, frame }, index) => {
    const isNow = index === latest.length - 1;
    const from = frame === null ? "from the start" : `from frame ${frame}`;
    return item(isNow ? "now" : "", prompt, isNow ? `now, ${from}` : from);
  });
  for (const one of [...upcoming.values()].sort((a, b) => a.at_s - b.at_s)) {
    const inS = Math.max(0, one.at_s - (stats?.stream_s ?? one.at_s));
    const when = inS < 0.5 ? "with the next chunk" : `in ${inS.toFixed(0)} s`;
    lines.push(item("next", one.prompt, when, () => cancel(one.prompt_id)));
  }
  byId("timeline").replaceChildren(...lines);
  const now = past.at(-1)?.prompt ?? "";
  byId("now-following").textContent = now;
  for (const button of byId("presets").children) button.classList.toggle("now", button.dataset.prompt === now);
}

export function showStrength(strength) {
  byId("strength").value = Math.round(100 * strength);
  byId("strength-value").textContent = `${Math.round(100 * strength)} %`;
}

// A line of the last minute, one value a second; the lowest value that it shows is 0.
class Line {
  constructor(name) {
    this.path = byId(name).firstElementChild;
    this.values = [];
  }

  add(value) {
    this.values = [...this.values, value].slice(-LINE_S);
    const top = 1.15 * Math.max(1e-9, ...this.values);
    const points = this.values.map((one, index) =>
      `${(100 * (LINE_S - this.values.length + index)) / (LINE_S - 1)} ${30 - (30 * one) / top}`);
    this.path.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
  }
}

const lines = { fps: new Line("fps-line"), delay: new Line("delay-line") };

export function showNumbers({ stats, over, delayMs, frame, numLeftOut, hasLink, recordingSince }) {
  const ms = (value) => (value === null ? "–" : `${value.toFixed(0)} ms`);
  byId("fps-out").textContent = stats.fps_out.toFixed(1);
  byId("fps-in").textContent = stats.fps_in.toFixed(1);
  byId("delay").textContent = ms(delayMs);
  byId("buffering").textContent = ms(stats.buffering_ms);
  byId("dropped").textContent = stats.frames_dropped + numLeftOut;
  byId("state-bytes").textContent = `${(stats.state_bytes / MIB).toFixed(1)} MiB`;
  byId("frame").textContent = frame;
  byId("viewers").textContent = stats.num_viewers;
  byId("over").textContent = over;
  lines.fps.add(stats.fps_out);
  if (delayMs !== null) lines.delay.add(delayMs);
  byId("steps-taken").textContent = stats.steps === null ? "–" : stats.steps;
  const isSlowed = stats.steps !== null && stats.steps < stats.steps_wanted;
  byId("steps-of").textContent = isSlowed ? `of ${stats.steps_wanted}` : "";
  byId("rate-note").textContent =
    `The model edits ${stats.native_fps} frames a second; the source is brought to that rate by its timestamps` +
    (stats.frames_dropped ? `, and ${stats.frames_dropped} frames were left out because the model was busy.` : ".") +
    (isSlowed
      ? ` ${stats.steps} of ${stats.steps_wanted} steps: this machine is slower than ${stats.native_fps} FPS.`
      : "");
  for (const button of document.querySelectorAll("[data-rewind]")) {
    button.disabled = !hasLink || stats.rewind_s < 0.5;
  }
  showRecordingTime(recordingSince);
}

export function showSharing({ session, key }, root) {
  for (const name of ["view", "whep", "whip"]) byId(`share-${name}`).value = new URL(`${name}/${session}`, root).href;
  byId("share-key").value = key;
  byId("share-steer").value = new URL(`#session=${session}&key=${key}`, root).href;
}

// Secrets are shown, and can be copied, only while they are chosen.
for (const input of document.querySelectorAll("#sharing input")) {
  const { type } = input;
  input.onfocus = () => { input.type = "text"; input.select(); };
  const hide = () => { input.type = type; };
  input.onblur = hide;
  byId("sharing").addEventListener("close", hide);
}

export function savePicture(canvas, name) {
  canvas.toBlob((png) => {
    if (!png) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(png);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    toast("snapshot saved");
  }, "image/png");
}

export function addRecording(name, root) {
  const link = document.createElement("a");
  link.href = new URL(`recordings/${name}`, root).href;
  link.download = "vivace.mp4";
  link.textContent = `recording ${byId("recordings").childElementCount + 1}`;
  byId("recordings").append(link);
  toast("the recording is ready below");
}
