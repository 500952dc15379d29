// What the page remembers: the session of this tab, and the instructions of this browser.

const SESSION = "vivace-session";
const HISTORY = "vivace-history";
const MAX_HISTORY = 20;

function load(store, key) { try { return JSON.parse(store().getItem(key)); } catch { return null; } }
function save(store, key, value) { try { store().setItem(key, JSON.stringify(value)); } catch { /* private mode */ } }

// even to name a store may be forbidden
const tab = () => sessionStorage;
const browser = () => localStorage;

export const keptSession = {
  load: () => load(tab, SESSION),
  save: (opened) => save(tab, SESSION, opened),
  drop() { try { tab().removeItem(SESSION); } catch { /* private mode */ } },
};

export const history = {
  words() {
    const found = load(browser, HISTORY);
    return Array.isArray(found) ? found.filter((one) => typeof one === "string") : [];
  },
  add(prompt) { save(browser, HISTORY, [prompt, ...history.words().filter((one) => one !== prompt)].slice(0, MAX_HISTORY)); },
};
