// What is told of jobs while they run and when they have ended; of each domain the last one's figures are kept until
// somebody has read them, or the domain is gone.

import { apart } from "../../effects/isolate-callback.js";
import type { FinishedJob } from "./job.js";
import type { ManagedDomain } from "./managed-domain.js";

export interface JobListener {
  /** A pass over the memory has begun; counted from 1. */
  iterated(domain: ManagedDomain, iteration: number): void;
  ended(domain: ManagedDomain, job: FinishedJob): void;
}

export class JobNews {
  readonly #last = new WeakMap<ManagedDomain, FinishedJob>();
  readonly #listeners = new Set<JobListener>();

  listen(listener: JobListener): void {
    this.#listeners.add(listener);
  }

  iterated(domain: ManagedDomain, iteration: number): void {
    for (const listener of this.#listeners) apart(() => listener.iterated(domain, iteration));
  }

  /** Kept, and told. */
  ended(domain: ManagedDomain, job: FinishedJob): void {
    this.keep(domain, job);
    for (const listener of this.#listeners) apart(() => listener.ended(domain, job));
  }

  /** Kept alone: at the destination, as libvirt does. */
  keep(domain: ManagedDomain, job: FinishedJob): void {
    this.#last.set(domain, job);
  }

  /** Null when there was none, or it has been read already. */
  read(domain: ManagedDomain, { keep }: { readonly keep: boolean }): FinishedJob | null {
    const job = this.#last.get(domain) ?? null;
    if (!keep) this.#last.delete(domain);
    return job;
  }
}
