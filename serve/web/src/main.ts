/** The page: a model, a scan, and the one's answer for the other, all on this device. */
import "./page/style.css";
import { Display } from "./page/display.ts";
import { byId, element } from "./page/dom.ts";
import { Engine } from "./page/engine.ts";
import type { Listed } from "./page/facts.ts";
import { fromDrop, fromInput } from "./page/files.ts";
import { guarded, storeAll } from "./page/keeping.ts";
import { Session } from "./page/session.ts";
import { Refusal } from "./read/refusal.ts";

/** A scan of the site to try; models that were trained on `dataset` read such scans. */
interface Example {
  readonly name: string;
  readonly path: string;
  readonly dataset: string;
}

async function start(session: Session, display: Display, engine: Engine): Promise<void> {
  await guarded();
  const listed = (await (await fetch("models.json")).json()) as { models: Listed[]; examples: Example[] };
  const contents = await Promise.all(listed.models.map((one) => blobAt(one.path!)));
  listed.models.forEach((one, i) => session.models.set(one.name, { ...one, file: contents[i]! }));
  const select = byId("model", HTMLSelectElement);
  for (const label of new Set(listed.models.map(({ kind }) => kind))) {
    const options = listed.models.filter(({ kind }) => kind === label).map(({ name }) => new Option(name));
    select.append(element("optgroup", { label }, ...options));
  }
  const given = new URLSearchParams(location.search).get("model");
  select.disabled = false;
  await session.choose(given !== null && session.models.has(given) ? given : select.value);
  byId("try", HTMLElement).hidden = !listed.examples.length;
  const examples = listed.examples.map((one) => addExample(one, session).catch((error) => display.showError(error)));
  await Promise.all([import("./page/viewer.ts"), engine.prepare(), ...examples]);
  byId("network", HTMLElement).textContent = (await storeAll())
    ? "Everything is loaded: from here on this page asks the network for nothing, and it opens without one."
    : "Everything is loaded. Whether this page opens without a network is not known.";
  document.documentElement.dataset["ready"] = "all";
}

async function blobAt(path: string): Promise<Blob> {
  const response = await fetch(path);
  if (!response.ok) throw new Refusal(`${path}: this site does not have it.`);
  return response.blob();
}

/** A button that opens the example. */
async function addExample({ name, path, dataset }: Example, session: Session): Promise<void> {
  const button = element("button", { type: "button", disabled: true }, name);
  byId("examples", HTMLElement).append(button);
  const member = { name: path.split("/").at(-1)!, file: await blobAt(path) };
  button.disabled = false;
  button.addEventListener("click", () => void session.openExample(member, dataset));
}

/** Do what a person asks for with the page's controls, and with files that are dropped on it. */
function listen(session: Session, display: Display, engine: Engine): void {
  const select = byId("model", HTMLSelectElement);
  const files = byId("files", HTMLInputElement);
  const own = byId("own", HTMLInputElement);
  const drop = byId("drop", HTMLElement);
  select.addEventListener("change", () => void session.choose(select.value));
  byId("stop", HTMLButtonElement).addEventListener("click", () => engine.stop());
  files.addEventListener("change", () => {
    void session.open(fromInput(files.files!)).finally(() => (files.value = "")); // the same file may be chosen again
  });
  own.addEventListener("change", () => {
    const [file] = own.files!;
    if (file) void session.bring(file.name, file).finally(() => (own.value = ""));
  });
  byId("item", HTMLInputElement).addEventListener("keydown", ({ key }) => key === "Enter" && void session.openAgain());
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (!event.dataTransfer) return;
    fromDrop(event.dataTransfer)
      .then((members) => session.open(members))
      .catch((error) => display.showError(error));
  });
}

const [engine, display] = [new Engine(), new Display()];
const session = new Session(engine, display);
listen(session, display, engine);
start(session, display, engine).catch((error: unknown) => {
  display.showStatus("The page could not be loaded", false);
  display.showError(error);
});
