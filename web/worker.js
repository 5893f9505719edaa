// A service worker: the files of the page come from its replica, and from a copy while that one is down.

const COPY = "trialogue";
const FILES = [
  "/", "/style.css", "/icon.svg", "/main.js", "/account.js", "/chat.js", "/connection.js", "/elements.js", "/model.js",
  "/notice.js", "/people.js", "/service-state.js", "/sign-in.js", "/storage.js", "/talk.js", "/words.js",
];

addEventListener("install", (event) => {
  event.waitUntil(caches.open(COPY).then((copy) => copy.addAll(FILES)).then(() => skipWaiting()));
});

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  if (origin !== location.origin || event.request.method !== "GET" || !FILES.includes(pathname)) return;
  event.respondWith(fresh(event.request, pathname));
});

async function fresh(request, pathname) {
  const copy = await caches.open(COPY);
  try {
    const response = await fetch(request);
    if (response.ok) await copy.put(pathname, response.clone());
    return response;
  } catch (error) {
    const kept = await copy.match(pathname);
    if (kept) return kept;
    throw error;
  }
}
