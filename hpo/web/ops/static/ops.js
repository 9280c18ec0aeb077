// Keeps a page up to date. Without it, the page shows the same, and a link loads it again.
"use strict";

const live = document.getElementById("live");
const note = document.getElementById("note");
const hold = document.getElementById("hold");
let held = null; // what came while the page was held
let source = null;
let isOver = false;

if (live && live.dataset.events && "EventSource" in window) {
  listen();
  // a browser has few connections to a server: pages that nobody sees leave them to the others
  document.addEventListener("visibilitychange", () => (document.hidden ? source.close() : listen()));
  hold.hidden = false;
  hold.addEventListener("click", () => {
    const isHeld = hold.getAttribute("aria-pressed") !== "true";
    hold.setAttribute("aria-pressed", String(isHeld));
    hold.textContent = isHeld ? "Go on" : "Hold still";
    if (!isHeld && held !== null) show(held);
    held = null;
  });
}

function listen() {
  if (isOver) return;
  source?.close();
  source = new EventSource(live.dataset.events);
  source.addEventListener("update", (event) => {
    say("");
    if (hold.getAttribute("aria-pressed") === "true") held = JSON.parse(event.data);
    else show(JSON.parse(event.data));
  });
  source.addEventListener("problem", (event) => say(`${JSON.parse(event.data)}. What is shown is from before.`));
  source.addEventListener("gone", (event) => {
    isOver = true;
    source.close();
    say(JSON.parse(event.data));
  });
  source.addEventListener("error", (event) => {
    const isRefused = event.target.readyState === EventSource.CLOSED;
    say(isRefused ? "This page no longer goes on by itself: load it again." : "The server does not answer. This page tries again.");
  });
}

function say(words) {
  if (note.textContent !== words) note.textContent = words;
  note.hidden = words === "";
}

// Changes what is different only, so that the focus, a selection and the place in a list stay.
function show(html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  follow(live, fresh.content);
}

function follow(old, fresh) {
  const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
  after.forEach((node, place) => {
    const known = before[place];
    if (!known) old.appendChild(node);
    else if (known.nodeName !== node.nodeName) old.replaceChild(node, known);
    else if (node.nodeType === Node.ELEMENT_NODE) {
      attributes(known, node);
      follow(known, node);
    } else if (known.nodeValue !== node.nodeValue) known.nodeValue = node.nodeValue;
  });
  before.slice(after.length).forEach((node) => node.remove());
}

function attributes(known, node) {
  for (const { name } of [...known.attributes]) if (!node.hasAttribute(name)) known.removeAttribute(name);
  for (const { name, value } of node.attributes) if (known.getAttribute(name) !== value) known.setAttribute(name, value);
}
