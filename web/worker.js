// A service worker: the files of the page come from its replica, and from a copy while that one is down.

const COPY = "trialogue";
const FILES = [
  "/", "/style.css", "/icon.svg", "/main.js", "/account.js", "/chat.js", "/connection.js", "/elements.js",
  "/input-methods.js", "/letters.js", "/model.js", "/notice.js", "/people.js", "/service-state.js", "/sign-in.js", "/storage.js", "/talk.js", "/words.js",
];

const scope = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

scope.addEventListener("install", (event) => {
  // Where no copy can be kept, the page comes from its replica alone.
  event.waitUntil(caches.open(COPY).then((copy) => copy.addAll(FILES)).catch(() => {}).then(() => scope.skipWaiting()));
});

scope.addEventListener("activate", (event) => event.waitUntil(scope.clients.claim()));

scope.addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  if (origin !== location.origin || event.request.method !== "GET" || !FILES.includes(pathname)) return;
  event.respondWith(fresh(event.request, pathname));
});

async function fresh(request, pathname) {
  try {
    const response = await fetch(request);
    if (response.ok) await keep(pathname, response.clone());
    return response;
  } catch (error) {
    const kept = await keptCopy(pathname);
    if (kept) return kept;
    throw error;
  }
}

/** Caches may be forbidden, or full: then there is no copy. */
async function keep(pathname, response) {
  try {
    await (await caches.open(COPY)).put(pathname, response);
  } catch {
    // What is there is an older copy, or none.
  }
}

async function keptCopy(pathname) {
  try {
    return await (await caches.open(COPY)).match(pathname);
  } catch {
    return null;
  }
}
