// What the dashboard does beyond plain pages: it replaces the live part of a page,
// every so often or when a form changes. The server renders it either way.
"use strict";

const header = "Recall-Fragment";
const region = document.querySelector("[data-live]");
const lost = document.getElementById("lost");
const say = document.getElementById("announce");
let running = null;

// fetchLive asks for the live part of an address and puts it in place. A newer
// call gives up the one before.
async function fetchLive(address) {
  running?.abort();
  const mine = (running = new AbortController());
  try {
    const answer = await fetch(address, { headers: { [header]: "live" }, signal: mine.signal, cache: "no-store" });
    if (answer.status === 401) {
      location.reload();
      return;
    }
    if (answer.headers.get(header) !== "live") throw new Error("status " + answer.status);
    const text = await answer.text();
    if (mine === running) replace(text);
    lost.hidden = true;
  } catch (fault) {
    if (fault.name === "AbortError") return;
    lost.hidden = false;
  }
  region.classList.remove("stale");
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

// preview shows what a form would meet while it is being filled in.
function preview(form) {
  let timer = 0;
  const show = () => {
    clearTimeout(timer);
    region.classList.add("stale");
    timer = setTimeout(() => {
      const query = new URLSearchParams();
      for (const [name, value] of new FormData(form)) if (value !== "") query.append(name, value);
      const address = location.pathname + "?" + query;
      history.replaceState(null, "", address);
      fetchLive(address);
    }, 120);
  };
  form.addEventListener("input", show);
  form.addEventListener("change", show);
}

const form = document.querySelector("form[data-preview]");
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
