/** Models and scans between the page and its two workers: what is loaded, and what is loaded again after a worker ended. */
import type { Judged, Loaded, Member, Place, ReadAnswer, ReadRequest, RunAnswer, RunRequest, Scan } from "../messages.ts";
import { LIMITS } from "../read/budget.ts";
import type { Listed } from "./facts.ts";
import { Helper } from "./workers.ts";

export interface Model extends Listed {
  readonly file: Blob;
}

export class Engine {
  private readonly reader = new Helper<ReadRequest, ReadAnswer>(
    () => new Worker(new URL("../reader.ts", import.meta.url), { type: "module" }),
  );
  private readonly runner = new Helper<RunRequest, RunAnswer>(
    () => new Worker(new URL("../runner.ts", import.meta.url), { type: "module" }),
  );
  private model: Model | undefined;
  /** How often the runner had ended when it loaded the model. */
  private loadedAfter = 0;
  private stops = 0;
  /** How many scans are being read. */
  private reads = 0;

  /** Load all decoders, so that none is left to be asked for later. */
  async prepare(): Promise<void> {
    const { stops } = this;
    try {
      await this.reader.ask({ task: "prepare" }, LIMITS.seconds, "the decoders did not load.");
    } catch (error) {
      if (stops === this.stops) throw error;
      await this.prepare(); // a person stops other work, and this ends with its worker
    }
  }

  async load(model: Model): Promise<Loaded> {
    this.model = undefined;
    const late = `${model.name}: it did not load within ${LIMITS.seconds} seconds.`;
    const request = { task: "load", file: model.file, sha256: model.sha256 } as const;
    const { loaded } = await this.runner.ask(request, LIMITS.seconds, late);
    this.model = model;
    this.loadedAfter = this.runner.ended;
    return loaded!;
  }

  async read(members: readonly Member[], selection: string, colour: boolean): Promise<Scan> {
    const name = members.length === 1 ? members[0]!.name : "the files";
    const late = `${name}: reading took longer than ${LIMITS.seconds} seconds; \`liquidlens predict\` reads larger scans.`;
    this.reads += 1;
    try {
      const { scan } = await this.reader.ask({ task: "read", members, selection, colour }, LIMITS.seconds, late);
      return scan!;
    } finally {
      this.reads -= 1;
    }
  }

  /** End the reading of a scan, if one is being read: else the next one would wait for it, and end with it. */
  endReading(): void {
    if (!this.reads) return;
    this.stops += 1;
    this.reader.end("stopped.");
  }

  async predict(model: Model, scan: Scan, name: string, centre: Place | null): Promise<Judged> {
    if (model !== this.model || this.loadedAfter !== this.runner.ended) await this.load(model);
    const late = `${name}: the model took longer than ${LIMITS.seconds} seconds.`;
    const { judged } = await this.runner.ask({ task: "predict", scan, name, centre }, LIMITS.seconds, late);
    return judged!;
  }

  /** End all that is under way. */
  stop(): void {
    this.stops += 1;
    this.reader.end("stopped.");
    this.runner.end("stopped.");
  }
}
