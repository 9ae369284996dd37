// What the dashboard does beyond plain pages: it replaces the live part of a page,
// every so often or when a form changes. The server renders it either way.
"use strict";

const header = "Recall-Fragment";
const region = document.querySelector("[data-live]");
const lost = document.getElementById("lost");
const say = document.getElementById("announce");
let running = null;
let pressed = false;
let waiting = null; // a live part that came while something was pressed

// fetchLive asks for the live part of an address and puts it in place. A newer
// call gives up the one before. It is false if there was no answer.
async function fetchLive(address) {
  running?.abort();
  waiting = null;
  const mine = (running = new AbortController());
  try {
    const answer = await fetch(address, { headers: { [header]: "live" }, signal: mine.signal, cache: "no-store" });
    if (answer.status === 401) {
      location.reload();
      return true;
    }
    if (answer.headers.get(header) !== "live") throw new Error("status " + answer.status);
    const text = await answer.text();
    if (mine !== running) return true;
    if (pressed) waiting = text;
    else replace(text);
    lost.hidden = true;
  } catch (fault) {
    if (fault.name === "AbortError") return true;
    lost.hidden = false;
  }
  running = null;
  region.classList.remove("stale");
  return lost.hidden;
}

// holdWhilePressed keeps the live part as it is from when something in it is pressed
// until it is let go: a browser makes a click of the two only if the same element is
// still there.
function holdWhilePressed() {
  let ending = 0;
  const press = () => {
    clearTimeout(ending);
    pressed = true;
  };
  region.addEventListener("pointerdown", (event) => event.button === 0 && press());
  region.addEventListener("keydown", (event) => event.key === " " && press());
  const release = () => {
    clearTimeout(ending);
    ending = setTimeout(letGo, 50); // the click follows, on a touch screen not at once
  };
  for (const end of ["pointerup", "pointercancel", "keyup", "dragend", "contextmenu", "blur"]) addEventListener(end, release);
}

function letGo() {
  pressed = false;
  const text = waiting;
  waiting = null;
  if (text !== null) replace(text);
}

// replace keeps the focus where it was, if what had it is still there.
function replace(text) {
  const held = region.contains(document.activeElement) ? document.activeElement : null;
  const where = held && [...region.querySelectorAll("a, button, pre")].indexOf(held);
  const what = held && (held.getAttribute("href") || held.textContent);
  region.innerHTML = text;
  if (held) {
    const all = [...region.querySelectorAll("a, button, pre")];
    const same = (e) => e && (e.getAttribute("href") || e.textContent) === what;
    (same(all[where]) ? all[where] : all.find(same))?.focus({ preventScroll: true });
  }
  const news = region.querySelector("[data-announce]")?.dataset.announce || "";
  if (news !== say.textContent) say.textContent = news;
}

// poll refreshes the live part, unless nobody looks or the visitor has paused it.
function poll(every) {
  const button = document.getElementById("pause");
  let paused = false;
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    if (paused) running?.abort(); // nothing moves from here on
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Resume updates" : "Pause updates";
  });
  const step = async () => {
    if (region.querySelector("[data-done]")) {
      button.hidden = true;
      return;
    }
    if (!paused && !document.hidden) await fetchLive(withoutNotice(location.href));
    setTimeout(step, every);
  };
  setTimeout(step, every);
}

function withoutNotice(address) {
  const url = new URL(address);
  url.searchParams.delete("notice");
  return url.href;
}

// preview shows what a form would meet while it is being filled in. To leave a field
// says "change" of what its "input" has said before: that asks for nothing.
function preview(form) {
  let timer = 0;
  let asked = queryOf(form);
  const ask = async (query) => {
    asked = query;
    const address = location.pathname + "?" + query;
    history.replaceState(null, "", address);
    if (!(await fetchLive(address)) && asked === query) asked = null;
  };
  const show = () => {
    clearTimeout(timer);
    const query = queryOf(form);
    region.classList.toggle("stale", query !== asked || running !== null);
    if (query !== asked) timer = setTimeout(ask, 120, query);
  };
  form.addEventListener("input", show);
  form.addEventListener("change", show);
}

function queryOf(form) {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value !== "") query.append(name, value);
  return query.toString();
}

const form = document.querySelector("form[data-preview]");
if (region) holdWhilePressed();
if (region && form) preview(form);
else if (region && Number(region.dataset.live) > 0) poll(Number(region.dataset.live));

const all = document.getElementById("choose-all");
if (all) {
  all.hidden = false;
  all.querySelector("input").addEventListener("change", (event) => {
    for (const box of document.querySelectorAll("input[name=id]")) box.checked = event.target.checked;
  });
}

if (location.search.includes("notice=")) history.replaceState(null, "", withoutNotice(location.href));
