// Keeps the screen on: a phone that sleeps takes its camera with it. Browsers give it up when the page is hidden.

let lock = null;

export async function stayAwake() {
  lock ??= await navigator.wakeLock?.request("screen").catch(() => null);
  lock?.addEventListener("release", () => { lock = null; }, { once: true });
}
