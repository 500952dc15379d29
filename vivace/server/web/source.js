// The picture that goes in: camera, screen or a clip in a <video>, captured at the model's size and rate.

import { packFrame } from "./link.js";

const JPEG_QUALITY = 0.85;
const CAMERA = { width: { ideal: 640 }, height: { ideal: 384 }, frameRate: { ideal: 30 } };

export class Source {
  constructor(video) {
    this.video = video;
    this.canvas = document.createElement("canvas");
    this.canvas.width = 320;
    this.canvas.height = 192;
    this.pen = this.canvas.getContext("2d", { alpha: false });
    this.kind = null;
    this.numCaptured = 0;
    this.numLeftOut = 0;
    this.clipAddress = null;
    this.facing = "user";
    this.canFlip = false;
  }

  async useCamera() {
    if (!navigator.mediaDevices) throw new Error("the browser gives cameras to https pages and localhost only; start the server with --tls");
    // many phones give one camera at a time
    this.stop();
    const wanted = { ...CAMERA, facingMode: this.facing };
    await this.show(await navigator.mediaDevices.getUserMedia({ video: wanted }), "camera");
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput");
    this.canFlip = cameras.length > 1;
  }

  async flipCamera() {
    this.facing = this.facing === "user" ? "environment" : "user";
    await this.useCamera();
  }

  async useScreen(hasSound) {
    if (!navigator.mediaDevices?.getDisplayMedia) throw new Error("this browser cannot share its screen");
    await this.show(await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 30 }, audio: hasSound }), "screen");
  }

  async useClip(file) {
    this.stop();
    this.clipAddress = URL.createObjectURL(file);
    this.video.src = this.clipAddress;
    this.video.loop = true;
    await this.video.play();
    this.kind = "clip";
  }

  async show(stream, kind) {
    this.stop();
    this.stream = stream;
    this.video.srcObject = stream;
    await this.video.play();
    this.kind = kind;
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    for (const track of this.microphone?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.microphone = null;
    this.video.srcObject = null;
    if (this.clipAddress) URL.revokeObjectURL(this.clipAddress);
    this.clipAddress = null;
    this.video.removeAttribute("src");
    this.kind = null;
    this.canFlip = false;
  }

  // The sound that goes with the picture; null where there is none. The microphone is asked for only here.
  async soundTrack() {
    if (this.kind === "camera") {
      this.microphone ??= await navigator.mediaDevices.getUserMedia({ audio: true });
      return this.microphone.getAudioTracks()[0] ?? null;
    }
    if (this.kind === "screen") return this.stream.getAudioTracks()[0] ?? null;
    const captured = this.video.captureStream?.() ?? this.video.mozCaptureStream?.();
    return captured?.getAudioTracks()[0] ?? null;
  }

  get size() { return { width_px: this.video.videoWidth || 640, height_px: this.video.videoHeight || 384 }; }

  setSize(width, height) {
    if (this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
  }

  // The middle of the picture in the shape of the canvas.
  draw() {
    const { videoWidth, videoHeight } = this.video;
    if (!videoWidth || this.video.readyState < 2) return false;
    const scale = Math.max(this.canvas.width / videoWidth, this.canvas.height / videoHeight);
    const width = this.canvas.width / scale;
    const height = this.canvas.height / scale;
    this.pen.drawImage(this.video, (videoWidth - width) / 2, (videoHeight - height) / 2, width, height,
      0, 0, this.canvas.width, this.canvas.height);
    return true;
  }

  // Calls `tick` at `fps`, a little late rather than twice; returns a function that stops it.
  every(fps, tick) {
    const period = 1000 / fps;
    let due = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      if (now + 2 < due) return;
      due = Math.max(due + period, now - period);
      tick();
    }, Math.max(4, period / 4));
    return () => clearInterval(timer);
  }

  // Frames over a Link; latest wins: no frame is captured while the last one waits.
  sendTo(link, fps) {
    let isBusy = false;
    return this.every(fps, () => {
      if (!this.kind || !link.isOpen) return;
      if (isBusy || link.isFull) { this.numLeftOut += 1; return; }
      const capturedUs = performance.now() * 1000;
      if (!this.draw()) return;
      isBusy = true;
      this.canvas.toBlob((jpeg) => {
        isBusy = false;
        if (!jpeg) return;
        link.sendNow(packFrame(jpeg, this.canvas.width, this.canvas.height, this.numCaptured++, capturedUs));
      }, "image/jpeg", JPEG_QUALITY);
    });
  }

  // A media track at the model's size and rate, for WebRTC.
  track(fps) {
    const stop = this.every(fps, () => { if (this.kind) { this.draw(); this.numCaptured += 1; } });
    const [track] = this.canvas.captureStream(fps).getVideoTracks();
    return { track, stop: () => { stop(); track.stop(); } };
  }
}
