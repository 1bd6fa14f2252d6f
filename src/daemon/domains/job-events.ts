// Job events, and the statistics of the last finished job per domain, which are kept until a client has read them or the
// domain is gone.

import { apart } from "../../effects/isolate-callback.js";
import type { FinishedJob } from "./job.js";
import type { ManagedDomain } from "./managed-domain.js";

export interface JobListener {
  /** A pass over the memory has begun; passes count from 1. */
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

  /** Keeps the statistics and notifies the listeners. */
  ended(domain: ManagedDomain, job: FinishedJob): void {
    this.keep(domain, job);
    for (const listener of this.#listeners) apart(() => listener.ended(domain, job));
  }

  /** Keeps the statistics without an event, as libvirt does at the destination. */
  keep(domain: ManagedDomain, job: FinishedJob): void {
    this.#last.set(domain, job);
  }

  /** Returns the last finished job; null if there is none, or if it has already been read. */
  read(domain: ManagedDomain, { keep }: { readonly keep: boolean }): FinishedJob | null {
    const job = this.#last.get(domain) ?? null;
    if (!keep) this.#last.delete(domain);
    return job;
  }
}
