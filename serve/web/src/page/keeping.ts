/** How the browser keeps the site, so that it opens without a network: the page's side of the service worker. */

/** How long the first visit waits for the service worker (ms). */
const PATIENCE = 15_000;

/** Wait until the service worker answers for this page, so that its policy holds for the workers as well. */
export async function guarded(): Promise<void> {
  if (!("serviceWorker" in navigator)) return; // where there is none, the page works, but only with a network
  try {
    const { active } = await navigator.serviceWorker.register("sw.js");
    if (active) return; // either it answers already, or the person reloads past it
    const controlled = new Promise<void>((resolve) => {
      if (navigator.serviceWorker.controller) resolve();
      navigator.serviceWorker.addEventListener("controllerchange", () => resolve());
    });
    await Promise.race([controlled, new Promise((resolve) => window.setTimeout(resolve, PATIENCE))]);
  } catch (error) {
    console.warn("The page is not stored for offline use:", error);
  }
}

/** Have the service worker store what nothing has asked for yet; whether all of the site is stored now. */
export async function storeAll(): Promise<boolean> {
  const worker = navigator.serviceWorker?.controller;
  if (!worker) return false;
  const { port1, port2 } = new MessageChannel();
  const done = new Promise<boolean>((resolve) => (port1.onmessage = ({ data }) => resolve(data)));
  worker.postMessage("store", [port2]);
  return done;
}
