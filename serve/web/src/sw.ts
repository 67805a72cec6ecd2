/**
 * The service worker: keeps the page and its models, so that it works offline, and answers with the headers that a static
 * host may not send: the content security policy also for workers, and the isolation that threads need.
 *
 * `liquidlens web` writes `self.SITE`, the files of this site and a version of all of them, in front of this text: with
 * any change of the site this file changes, and browsers then fetch all of it anew.
 */
interface Site {
  readonly SITE: {
    readonly version: string;
    readonly files: readonly string[];
    readonly policy: string;
    /** Of a bundle's own pages, such as its audit. */
    readonly bundlePolicy: string;
  };
}
const worker = self as unknown as ServiceWorkerGlobalScope & Site;

const SCOPE = new URL("./", worker.location.href);
/** Sites beside each other on one host share its caches. */
const FAMILY = `liquidlens ${SCOPE.pathname} `;
const CACHE = FAMILY + worker.SITE.version;
const FILES = new Set(worker.SITE.files.map((file) => new URL(file, SCOPE).href));
const INDEX = new URL("index.html", SCOPE).href;
const BUNDLES = new URL("models/", SCOPE).href;

const EVERYWHERE = {
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
  "X-Content-Type-Options": "nosniff",
};
const OF_PAGE = { "Content-Security-Policy": worker.SITE.policy, "Cross-Origin-Opener-Policy": "same-origin" };
/** In a sandbox, and so without an isolation from its opener: browsers refuse to show a page with both. */
const OF_BUNDLE = { "Content-Security-Policy": worker.SITE.bundlePolicy };

worker.addEventListener("install", (event) => {
  // At the first visit the page is already loading: it asks for what it needs first, and then for the rest.  Later, a new
  // version takes over only when all of it is there.
  if (worker.registration.active) event.waitUntil(storeAll());
});

worker.addEventListener("message", (event) => {
  const [port] = event.ports;
  if (event.data !== "store") return;
  const stored = storeAll().then(() => true, () => false); // for want of room, or of a file
  event.waitUntil(stored.then((done) => port?.postMessage(done)));
});

async function storeAll(): Promise<void> {
  const cache = await caches.open(CACHE);
  const there = new Set((await cache.keys()).map(({ url }) => url));
  await cache.addAll([...FILES].filter((file) => !there.has(file)).map(anew));
}

/** A request past the browser's own cache, which may hold a file of an older version. */
function anew(file: string): Request {
  return new Request(file, { cache: "no-cache" });
}

worker.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const old = (await caches.keys()).filter((name) => name.startsWith(FAMILY) && name !== CACHE);
      await Promise.all(old.map((name) => caches.delete(name)));
      await worker.clients.claim();
    })(),
  );
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = new URL(request.url);
  address.search = address.hash = "";
  if (request.method !== "GET" || !address.href.startsWith(SCOPE.href)) return;
  const wanted = address.href === SCOPE.href ? INDEX : address.href;
  if (FILES.has(wanted)) event.respondWith(answer(wanted));
});

async function answer(file: string): Promise<Response> {
  const cache = await caches.open(CACHE);
  let found = await cache.match(file);
  if (!found) {
    found = await fetch(anew(file));
    if (found.ok) await cache.put(file, found.clone()).catch(() => undefined); // there is no room
  }
  const headers = new Headers(found.headers);
  const wanted = { ...EVERYWHERE, ...(file.startsWith(BUNDLES) ? OF_BUNDLE : OF_PAGE) };
  for (const [name, value] of Object.entries(wanted)) headers.set(name, value);
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}
