// The socket to a session: hello, messages both ways, picture bytes, reconnecting. Knows nothing of the page.

export const VERSION = 1;
const HEADER_BYTES = 28;
const JPEG = 1;
// More than this waiting in the socket means that the network is slower than the camera: leave frames out.
const MAX_BUFFERED_BYTES = 200_000;
const MAX_WAITING = 16;
const RETRY_MS = [250, 500, 1000, 2000, 4000];

export async function openSession(options, token) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch("sessions", { method: "POST", headers, body: JSON.stringify({ v: VERSION, ...options }) });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.sentence || `the server answered ${answer.status}`);
  return body;
}

export function packFrame(jpeg, width, height, index, capturedUs) {
  const head = new DataView(new ArrayBuffer(HEADER_BYTES));
  head.setUint8(0, VERSION);
  head.setUint8(1, JPEG);
  head.setUint16(2, width);
  head.setUint16(4, height);
  head.setUint32(8, index >>> 0);
  head.setBigUint64(16, BigInt(Math.round(capturedUs)));
  return new Blob([head.buffer, jpeg]);
}

export function parseFrame(buffer) {
  const head = new DataView(buffer);
  if (head.byteLength < HEADER_BYTES || head.getUint8(0) !== VERSION || head.getUint8(1) !== JPEG) return null;
  return {
    width: head.getUint16(2),
    height: head.getUint16(4),
    index: head.getUint32(8),
    promptId: head.getUint32(12),
    capturedUs: Number(head.getBigUint64(16)),
    serverUs: head.getUint32(24),
    jpeg: new Blob([new Uint8Array(buffer, HEADER_BYTES)], { type: "image/jpeg" }),
  };
}

// Events: `message` (detail: a server message), `frame` (detail: parseFrame's), `up`, `down`, `lost` (unknown session)
export class Link extends EventTarget {
  constructor(root, { session, key = null, frames = "jpeg" }) {
    super();
    this.address = new URL(`sessions/${session}/socket`, root);
    this.address.protocol = this.address.protocol.replace("http", "ws");
    this.key = key;
    this.frames = frames;
    this.numTries = 0;
    this.isClosed = false;
    this.waiting = []; // orders given while the socket is away
    this.connect();
  }

  connect() {
    this.socket = new WebSocket(this.address);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.sendNow({ type: "hello", v: VERSION, frames: this.frames, ...(this.key ? { key: this.key } : {}) });
    };
    this.socket.onmessage = ({ data }) => {
      if (typeof data === "string") return this.receive(JSON.parse(data));
      const frame = parseFrame(data);
      if (frame) this.emit("frame", frame);
    };
    this.socket.onclose = () => {
      if (this.isClosed) return;
      this.emit("down");
      this.timer = setTimeout(() => this.connect(), RETRY_MS[Math.min(this.numTries++, RETRY_MS.length - 1)]);
    };
  }

  receive(message) {
    if (message.type === "welcome") {
      this.numTries = 0;
      this.emit("up", message);
      for (const order of this.waiting.splice(0)) this.sendNow(order);
    }
    if (message.type === "error" && message.code === "unknown_session") {
      this.close();
      return this.emit("lost");
    }
    if (message.type === "ended") this.close();
    this.emit("message", message);
  }

  emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  get isOpen() { return this.socket.readyState === WebSocket.OPEN; }
  get isFull() { return this.socket.bufferedAmount > MAX_BUFFERED_BYTES; }

  sendNow(message) {
    if (!this.isOpen) return false;
    this.socket.send(message instanceof Blob ? message : JSON.stringify(message));
    return true;
  }

  // A message that is sent once there is a connection; false where too many wait.
  send(message) {
    if (this.sendNow(message)) return true;
    if (this.isClosed || this.waiting.length >= MAX_WAITING) return false;
    this.waiting.push(message);
    return true;
  }

  // Another choice of frames needs another hello.
  setFrames(frames) {
    if (this.frames === frames) return;
    this.frames = frames;
    this.socket.close();
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}
