// Keys and dropped files, wherever on the page they come.

import { PRESETS } from "./asking.js";
import { byId } from "./shown.js";

// `actions` by key, in lower case, where `canPress` says so; figures are presets, which `apply` gets.
export function onKeys(actions, canPress, apply) {
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea, dialog[open]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const preset = PRESETS[Number(event.key) - 1]?.[1];
    const action = preset ? () => apply(preset) : actions[event.key.toLowerCase()];
    if (!action || !(preset || canPress(event.key))) return;
    event.preventDefault();
    action();
  });
}

export function onDrop(take) {
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      byId("drop-here").hidden = name !== "dragover" || !event.dataTransfer.types.includes("Files");
      const file = name === "drop" ? event.dataTransfer.files[0] : null;
      if (file) take(file);
    });
  }
}
