// Reports a QEMU's facts to its observer: its monitor's events in wire order, its exit last of all. It subscribes
// only while it is observed, so that a guest that was migrated often does not keep the subscriptions of former
// observers.

import type { MonitorLine } from "../../../effects/ports.js";
import type { Cause } from "../../../protocol/effect-result.js";
import type { MonitorEvent } from "../monitor/commands.js";
import type { QemuProcess } from "../process/process.js";

export class Facts<Fact> {
  readonly #hear: (event: MonitorEvent) => void;
  readonly #exited: (cause: Cause) => Fact;
  #qemu: QemuProcess | undefined;
  #listener: ((fact: Fact) => void) | undefined;
  #exitReported: Promise<void> = Promise.resolve();
  #stopHearing: () => void = () => {};
  #overhearing: ((qemu: QemuProcess) => void) | undefined;

  /** `hear` receives each event; `exited` turns the exit into a fact. */
  constructor(hear: (event: MonitorEvent) => void, exited: (cause: Cause) => Fact) {
    this.#hear = hear;
    this.#exited = exited;
  }

  /** Sets the QEMU whose events are reported; observers may subscribe earlier. */
  from(qemu: QemuProcess): void {
    this.#qemu = qemu;
    this.#overhearing?.(qemu);
    if (this.#listener !== undefined) this.#stopHearing = qemu.main.onEvent(this.#hear);
    // The monitor is read to its end first: the exit must not overtake QEMU's earlier events.
    this.#exitReported = Promise.all([qemu.exited, qemu.main.session.closed]).then(([cause]) =>
      this.tell(this.#exited(cause)),
    );
  }

  /** Resolves when the exit of the QEMU has been reported. */
  get exitReported(): Promise<void> {
    return this.#exitReported;
  }

  watch(listener: (fact: Fact) => void): () => void {
    this.#listener = listener;
    if (this.#qemu !== undefined) this.#stopHearing = this.#qemu.main.onEvent(this.#hear);
    return () => {
      this.#listener = undefined;
      this.#stopHearing();
    };
  }

  /** Observers of the monitor traffic, too, may subscribe before the QEMU exists. */
  onMonitorTraffic(listener: (line: MonitorLine) => void): () => void {
    let stop = () => {};
    this.#overhearing = (qemu) => {
      stop = qemu.onMonitorTraffic(listener);
    };
    if (this.#qemu !== undefined) this.#overhearing(this.#qemu);
    return () => {
      this.#overhearing = undefined;
      stop();
    };
  }

  tell(fact: Fact): void {
    this.#listener?.(fact);
  }
}
