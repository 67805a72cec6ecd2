/** A worker that answers requests, is ended when it takes too long, and is started anew for the next request. */
import type { Numbered } from "../messages.ts";
import { Refusal } from "../read/refusal.ts";

interface Waiting<Result> {
  readonly resolve: (answer: Result) => void;
  readonly reject: (error: Error) => void;
  readonly timer: number;
}

export class Helper<Request extends { id: number }, Result extends Numbered> {
  /** How often it was ended; what a worker was given is forgotten with it. */
  ended = 0;
  private worker: Worker | undefined;
  private last = 0;
  private readonly waiting = new Map<number, Waiting<Result>>();

  constructor(private readonly start: () => Worker) {}

  /** seconds: after which the worker is ended.  late: the sentence that then is thrown. */
  ask(request: DistributiveOmit<Request, "id">, seconds: number, late: string): Promise<Result> {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      const timer = window.setTimeout(() => this.end(late), 1000 * seconds);
      this.waiting.set(id, { resolve, reject, timer });
      this.running().postMessage({ ...request, id });
    });
  }

  /** End the worker, whatever it does; those who wait for it hear `reason`. */
  end(reason: string): void {
    this.worker?.terminate();
    this.worker = undefined;
    this.ended += 1;
    for (const { reject, timer } of this.waiting.values()) {
      window.clearTimeout(timer);
      reject(new Refusal(reason));
    }
    this.waiting.clear();
  }

  private running(): Worker {
    if (this.worker) return this.worker;
    const worker = this.start();
    worker.onmessage = ({ data }: MessageEvent<Result>) => {
      const found = this.waiting.get(data.id);
      if (!found) return;
      this.waiting.delete(data.id);
      window.clearTimeout(found.timer);
      if (data.refusal !== undefined) found.reject(new Refusal(data.refusal));
      else found.resolve(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.end("this browser ended the work, perhaps for want of memory.");
    };
    this.worker = worker;
    return worker;
  }
}

type DistributiveOmit<T, Key extends PropertyKey> = T extends unknown ? Omit<T, Key> : never;
