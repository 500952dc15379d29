// A bare full-window view of a session, for OBS and second screens: pictures only, over the WebSocket.

import { Link } from "./link.js";

const root = new URL("../", location.href);
const session = location.pathname.split("/").pop();
const canvas = document.getElementById("edited");
const pen = canvas.getContext("2d", { alpha: false });

const link = new Link(root, { session, frames: "jpeg" });
link.addEventListener("frame", async ({ detail }) => {
  const picture = await createImageBitmap(detail.jpeg);
  if (canvas.width !== detail.width || canvas.height !== detail.height) {
    canvas.width = detail.width;
    canvas.height = detail.height;
  }
  pen.drawImage(picture, 0, 0);
  picture.close();
});
