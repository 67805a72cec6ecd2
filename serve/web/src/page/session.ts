/** What a visitor has at hand, a model and a scan, and the work on them: loading, reading, judging. */
import type { FieldOfView, Member, Place, Scan } from "../messages.ts";
import { Refusal } from "../read/refusal.ts";
import { doubts } from "../model/present.ts";
import { byId, element } from "./dom.ts";
import type { Chosen, Display, Opened } from "./display.ts";
import type { Engine, Model } from "./engine.ts";

type Task = "model" | "scan" | "answer";

export class Session {
  readonly models = new Map<string, Model>();
  private readonly select = byId("model", HTMLSelectElement);
  private readonly item = byId("item", HTMLInputElement);
  private chosen: Chosen | undefined;
  private opened: Opened | undefined;
  /** The files that were dropped or chosen last, whether they could be read or not. */
  private asked: readonly Member[] = [];
  private judged: { of: Opened; by: Chosen } | undefined;
  /** The newest of what was asked for; what was asked before is not shown any more. */
  private readonly newest: Record<Task, number> = { model: 0, scan: 0, answer: 0 };
  /** How many things of each kind are being done. */
  private readonly busy: Record<Task, number> = { model: 0, scan: 0, answer: 0 };

  constructor(
    private readonly engine: Engine,
    private readonly display: Display,
  ) {
    display.onPoint = (place) => void this.point(place);
  }

  /** Load a model, and let it judge the scan that is open. */
  async choose(name: string): Promise<void> {
    this.select.value = name;
    const model = this.models.get(name)!;
    this.newest.answer += 1; // what another model finds is not shown any more
    await this.task("model", `Loading ${name}`, async (isNewest) => {
      this.chosen = undefined;
      this.display.showModel(undefined);
      this.display.showFacts(this.opened, undefined);
      try {
        const loaded = await this.engine.load(model);
        if (!isNewest()) return;
        this.chosen = { model, loaded };
        this.display.showModel(this.chosen);
      } catch (error) {
        throw error instanceof Refusal ? new Refusal(`${name}: ${error.message}`) : error;
      }
      this.display.showFacts(this.opened, this.chosen);
    });
    await this.judge();
  }

  /** A model of the person's own. */
  async bring(title: string, file: Blob): Promise<void> {
    const name = `your own ${title}`;
    if (!this.models.has(name)) this.select.append(new Option(name));
    this.models.set(name, { name, path: null, sha256: null, files: [], kind: null, contract: null, dataset: null, file });
    await this.choose(name);
  }

  /** Read a scan and let the model judge it. */
  async open(members: readonly Member[]): Promise<void> {
    if (!members.length) return;
    const model = members.length === 1 && members[0]!.name.toLowerCase().endsWith(".onnx") ? members[0] : undefined;
    if (model) return this.bring(model.name, model.file);
    this.asked = members;
    const selection = this.selection();
    const name = (members.length === 1 ? members[0]!.name : `${members.length} files`) + (selection && `#${selection}`);
    let isRead = false;
    await this.task("scan", `Reading ${name}`, async (isNewest) => {
      const colour = this.chosen?.loaded.manifest.input.channels === 3;
      const started = performance.now();
      this.engine.endReading(); // of what was asked for before, and is not shown any more
      if (this.busy.answer) {
        this.newest.answer += 1;
        this.judged = undefined; // if this scan cannot be read, the one before is judged once more
      }
      const scan = await this.engine.read(members, selection, colour);
      if (!isNewest()) return;
      const milliseconds = performance.now() - started;
      this.opened = { members, selection, name, scan, colour, milliseconds, centre: null };
      isRead = true;
      if (this.selection() === selection) this.item.value = ""; // it is not the next file's; unread, it stays
    });
    const isMissing = !this.chosen && !this.busy.model && this.select.value; // its loading was stopped or failed
    const best = isRead ? this.offer(this.opened!.scan) : undefined;
    if (best !== undefined && best !== this.select.value) await this.choose(best);
    else if (isRead && isMissing) await this.choose(this.select.value);
    else await this.judge();
  }

  /** Look at another place of the scan, if the model sees a part of it. */
  async point(centre: Place): Promise<void> {
    if (!this.opened || !this.chosen?.loaded.manifest.input.spacing) return;
    this.opened = { ...this.opened, centre };
    await this.judge();
  }

  /** The same files once more, for another item. */
  async openAgain(): Promise<void> {
    await this.open(this.asked);
  }

  /** Open an example, with a model that reads such scans if the chosen one does not. */
  async openExample(member: Member, dataset: string): Promise<void> {
    const chosen = this.models.get(this.select.value)?.dataset ?? this.chosen?.loaded.manifest.provenance.dataset;
    const fitting = [...this.models.values()].find((model) => model.dataset === dataset);
    if (chosen !== dataset && fitting) void this.choose(fitting.name);
    this.item.value = "";
    await this.open([member]);
  }

  private selection(): string {
    return this.item.value.trim().replace(/^#/, "");
  }

  /** Let the model judge the scan, once both are there, and draw the scan. */
  private async judge(): Promise<void> {
    const [of, by] = [this.opened, this.chosen];
    if (!of || !by || (this.judged?.of === of && this.judged.by === by)) return;
    this.judged = { of, by };
    await this.task("answer", `Judging ${of.name}`, async (isNewest) => {
      const colour = by.loaded.manifest.input.channels === 3;
      if (of.colour === colour) return this.judgeAndShow(of, by, isNewest);
      const scan = await this.engine.read(of.members, of.selection, colour);
      if (!isNewest()) return;
      this.opened = { ...of, colour, scan };
      this.judged = { of: this.opened, by };
      await this.judgeAndShow(this.opened, by, isNewest);
    });
  }

  private async judgeAndShow(of: Opened, by: Chosen, isNewest: () => boolean): Promise<void> {
    let view: FieldOfView | null = null;
    if (!of.centre) this.display.clearAnswer(); // one that follows a point takes the place of the one before
    try {
      const judged = await this.engine.predict(by.model, of.scan, of.name, of.centre);
      if (!isNewest()) return;
      this.display.showAnswer(judged, of, by);
      this.display.showFacts(this.opened, this.chosen, judged);
      view = judged.view;
    } catch (error) {
      if (!isNewest()) return;
      this.display.showFacts(this.opened, this.chosen);
      this.display.showError(error instanceof Refusal ? new Refusal(error.message + this.hint(of.scan, by)) : error);
    }
    await this.display.showScan(of.scan, view); // after the answer, which takes less time
  }

  /**
   * Offer the models that read a scan first, of these the ones that it fits best; gives the name of the best one, or the
   * chosen one's if no other fits better.  What a person brought, and models of colour images, may read any.
   */
  private offer(scan: Scan): string | undefined {
    const doubtsOf = ({ contract }: Model) => (!contract || contract.input.channels === 3 ? 0 : doubts(contract, scan));
    const reads = this.fitting(scan);
    if (!reads.length) return undefined;
    const others = [...this.models.keys()].filter((name) => !reads.includes(name));
    const value = this.select.value;
    const groups = [["Read this scan", reads], ["Read other scans", others]] as const;
    this.select.replaceChildren(
      ...groups.filter(([, names]) => names.length).map(([label, names]) =>
        element("optgroup", { label }, ...names.map((name) => new Option(name))),
      ),
    );
    this.select.value = value;
    return doubtsOf(this.models.get(reads[0]!)!) < doubtsOf(this.models.get(value)!) ? reads[0] : value;
  }

  /** The site's models that read a scan, those that it fits best first. */
  private fitting(scan: Scan): string[] {
    return [...this.models.values()]
      .map(({ name, contract }) => ({ name, badly: contract ? doubts(contract, scan) : 9 }))
      .filter(({ badly }) => badly < Infinity)
      .sort((a, b) => a.badly - b.badly)
      .map(({ name }) => name);
  }

  /** Which of the site's models read the scan that the chosen one refused. */
  private hint(scan: Scan, by: Chosen): string {
    const fitting = this.fitting(scan).filter((name) => name !== by.model.name && this.models.get(name)!.contract);
    return fitting.length ? ` Choose ${fitting.join(" or ")}.` : "";
  }

  /** Show what is being done, and what went wrong.  isNewest: whether nothing of this kind was asked for since. */
  private async task(kind: Task, words: string, work: (isNewest: () => boolean) => Promise<void>): Promise<void> {
    const mine = ++this.newest[kind];
    const isNewest = () => mine === this.newest[kind];
    this.busy[kind] += 1;
    this.display.showStatus(words, true);
    if (kind !== "answer") this.display.hideError(); // what is wrong with a model or a scan stays beside the answer
    try {
      await work(isNewest);
    } catch (error) {
      if (isNewest()) this.display.showError(error);
    } finally {
      this.busy[kind] -= 1;
      const isIdle = !this.busy.model && !this.busy.scan && !this.busy.answer;
      if (isIdle) this.display.showStatus(this.chosen ? "Ready" : "No model is loaded", false);
    }
  }
}
