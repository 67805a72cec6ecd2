/** What the page shows of a session: the answer and what moved it, the facts, the scan, and what is being done. */
import type { FieldOfView, Judged, Loaded, Member, Place, Scan } from "../messages.ts";
import { Refusal } from "../read/refusal.ts";
import { answer } from "./answer.ts";
import { slicesChart, traceChart } from "./charts.ts";
import { byId, element } from "./dom.ts";
import type { Model } from "./engine.ts";
import { auditFacts, modelFacts, scanFacts } from "./facts.ts";
import { result } from "./result.ts";
import type { Viewer } from "./viewer.ts";
import { about } from "./words.ts";

/** A model that is loaded. */
export interface Chosen {
  readonly model: Model;
  readonly loaded: Loaded;
}

/** A scan that was read.  selection: which one of its files, as behind a "#".  milliseconds: for which it was read. */
export interface Opened {
  readonly members: readonly Member[];
  readonly selection: string;
  readonly name: string;
  readonly scan: Scan;
  readonly colour: boolean;
  readonly milliseconds: number;
  /** Where a person pointed in it. */
  readonly centre: Place | null;
}

const PLACES = ["about", "answer", "explanation", "facts", "message", "status", "viewer"] as const;

export class Display {
  private readonly places = Object.fromEntries(PLACES.map((id) => [id, byId(id, HTMLElement)])) as Record<
    (typeof PLACES)[number],
    HTMLElement
  >;
  private readonly stop = byId("stop", HTMLButtonElement);
  private viewer: Promise<Viewer> | undefined;
  /** Called when a person points at a place of the scan. */
  onPoint: (place: Place) => void = () => undefined;
  private shown: Scan | undefined;
  /** The address of the result that can be downloaded. */
  private download = "";

  showModel(chosen: Chosen | undefined): void {
    this.places.about.replaceChildren(...(chosen ? [about(chosen.loaded.manifest)] : []));
  }

  clearAnswer(): void {
    this.places.answer.replaceChildren();
    this.places.explanation.replaceChildren();
  }

  showAnswer(judged: Judged, { scan, name, milliseconds }: Opened, { model, loaded }: Chosen): void {
    const notes = [...scan.notes, ...judged.prediction.notes];
    const file = new Blob([result(name, model.name, loaded, scan, judged)], { type: "application/json" });
    URL.revokeObjectURL(this.download); // the browser keeps its file until then
    this.download = URL.createObjectURL(file);
    const link = element("a", {
      class: "download",
      href: this.download,
      download: `liquidlens-${model.name.replace(/[^A-Za-z0-9._-]+/g, "-")}.json`,
    }, "Download result (JSON)");
    this.places.answer.replaceChildren(...answer(loaded, model.name, name, judged, milliseconds, notes), link);
    const drawings: Node[] = [];
    if (judged.slices) {
      drawings.push(element("h3", {}, `Each slice's vote for “${judged.slices.label}”`), slicesChart(judged.slices));
    }
    for (const trace of judged.traces) {
      drawings.push(element("h3", {}, `Neurons of the layer ${trace.wiring.layer}`), traceChart(trace));
    }
    this.places.explanation.replaceChildren(...drawings);
  }

  showFacts(opened: Opened | undefined, chosen: Chosen | undefined, judged?: Judged): void {
    const parts: [string, Node[]][] = [];
    if (opened) {
      const { notes } = judged?.prediction ?? { notes: [] };
      parts.push(["Scan", scanFacts(opened.scan, opened.name, notes, judged?.view?.centre ?? null)]);
    }
    if (chosen) {
      parts.push(["Model", modelFacts(chosen.model, chosen.loaded)], ["Audit", auditFacts(chosen.model, chosen.loaded)]);
    }
    this.places.facts.replaceChildren(
      ...parts.map(([name, nodes], i) =>
        element("details", { class: "box", open: i === 0 && opened !== undefined }, element("summary", {}, name), ...nodes),
      ),
    );
  }

  /** view: where the model looks in it, if it sees a part of it. */
  async showScan(scan: Scan, view: FieldOfView | null): Promise<void> {
    if (this.shown === scan) return (await this.viewer)?.look(view);
    this.shown = scan;
    await new Promise((resolve) => window.setTimeout(resolve)); // for the answer to be seen
    try {
      this.viewer ??= import("./viewer.ts").then(
        ({ Viewer }) => new Viewer(this.places.viewer, (place) => this.onPoint(place)),
      );
      await (await this.viewer).show(scan, view);
    } catch (error) {
      console.warn("The scan cannot be drawn:", error);
      if (this.shown !== scan) return; // a newer one is being drawn
      this.viewer = this.shown = undefined;
      const words = "This browser cannot draw the scan: it needs WebGL 2. The answer does not depend on it.";
      this.places.viewer.replaceChildren(element("p", { class: "small" }, words));
    }
  }

  /** What is being done, if anything is. */
  showStatus(words: string, isBusy: boolean): void {
    this.places.status.textContent = words;
    this.stop.hidden = !isBusy;
  }

  /** What went wrong. */
  showError(error: unknown): void {
    if (!(error instanceof Refusal)) console.error(error);
    const words = error instanceof Refusal ? error.message : "This browser could not do that; reload the page.";
    this.places.message.textContent = words;
    this.places.message.hidden = false;
  }

  hideError(): void {
    this.places.message.hidden = true;
  }
}
