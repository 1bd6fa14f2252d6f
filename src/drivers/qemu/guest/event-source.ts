// What a QEMU tells the one who watches it: its monitor's events in wire order, its death last of all. It listens only
// while it is watched, so that a guest that has moved often is not heard by all its former watchers.

import type { MonitorLine } from "../../../effects/ports.js";
import type { Cause } from "../../../protocol/effect-result.js";
import type { MonitorEvent } from "../monitor/commands.js";
import type { QemuProcess } from "../process/process.js";

export class Facts<Fact> {
  readonly #hear: (event: MonitorEvent) => void;
  readonly #exited: (cause: Cause) => Fact;
  #qemu: QemuProcess | undefined;
  #listener: ((fact: Fact) => void) | undefined;
  #stopHearing: () => void = () => {};
  #overhearing: ((qemu: QemuProcess) => void) | undefined;

  /** `hear` gets each event; `exited` puts the death into words. */
  constructor(hear: (event: MonitorEvent) => void, exited: (cause: Cause) => Fact) {
    this.#hear = hear;
    this.#exited = exited;
  }

  /** The QEMU to listen to; it may be watched before it is there. */
  from(qemu: QemuProcess): void {
    this.#qemu = qemu;
    this.#overhearing?.(qemu);
    if (this.#listener !== undefined) this.#stopHearing = qemu.main.onEvent(this.#hear);
    // The monitor is read to its end first: a death must not overtake what QEMU said before it.
    void Promise.all([qemu.exited, qemu.main.session.closed]).then(([cause]) =>
      this.tell(this.#exited(cause)),
    );
  }

  watch(listener: (fact: Fact) => void): () => void {
    this.#listener = listener;
    if (this.#qemu !== undefined) this.#stopHearing = this.#qemu.main.onEvent(this.#hear);
    return () => {
      this.#listener = undefined;
      this.#stopHearing();
    };
  }

  /** Its dialogue with QEMU, too, may be wanted before that is there. */
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
