// Post-copy at the source's QEMU: its start, the proof that it has started, and its connection.

import type { Clock } from "../../../effects/ports.js";
import { sleep } from "../../../effects/sleep.js";
import { within } from "../../../effects/within.js";
import { type Answer, done, failed, nothing } from "../../../protocol/effect-result.js";
import type { Resumption } from "../../../protocol/messages.js";
import type { StreamAddress } from "../../../protocol/peer-text.js";
import { answering } from "../monitor/to-result.js";
import type { QemuProcess } from "../process/process.js";

const proofCheckMs = 1;
const connectMs = 2_000;
const connectCheckMs = 20;

export class SourcePostcopy {
  readonly #qemu: QemuProcess;
  readonly #clock: Clock;
  /** Called once post-copy is proven. */
  readonly #tell: () => void;
  #proving = false;

  constructor(qemu: QemuProcess, { clock, tell }: { readonly clock: Clock; readonly tell: () => void }) {
    this.#qemu = qemu;
    this.#clock = clock;
    this.#tell = tell;
  }

  start(): Promise<Answer<null>> {
    return answering(async () => {
      const { main } = this.#qemu;
      const { ram } = await main.execute("query-migrate", {});
      if (ram === undefined) return failed("QEMU does not send memory yet; try again when it does");
      if (ram["postcopy-bytes"] === undefined)
        return failed("this QEMU does not report the bytes sent in post-copy; QEMU 7.0 or later is required");
      await main.execute("migrate-start-postcopy", {});
      return nothing;
    });
  }

  break(): Promise<Answer<null>> {
    return answering(async () => {
      await this.#qemu.rescue.execute("migrate-pause", {}, { oob: true });
      return nothing;
    });
  }

  /**
   * A second attempt while QEMU still connects would crash 7.2: the answer waits until it has connected, or failed
   * to.
   */
  resume(uri: StreamAddress, signal: AbortSignal): Promise<Answer<Resumption>> {
    return answering(async () => {
      const { main } = this.#qemu;
      const status = async () => (await main.execute("query-migrate", {})).status;
      const isPaused = async () => (await status()) === "postcopy-paused";
      // The destination listens again, so QEMU's current connection here has no other end.
      if ((await status()) === "postcopy-active") {
        await this.break();
        if (!(await this.#until(signal, async () => (await status()) !== "postcopy-active")))
          return done("held");
      }
      if (!(await isPaused())) return done("connecting");
      await main.execute("migrate", { uri, resume: true });
      await this.#until(signal, async () => !(await isPaused()));
      return done("connecting");
    });
  }

  /** Returns false when the condition does not become true in the time that a connection takes. */
  #until(signal: AbortSignal, isSo: () => Promise<boolean>): Promise<boolean> {
    return within(this.#clock, connectMs, signal, async (late) => {
      while (!(await isSo())) {
        if (late.aborted) return false;
        await sleep(this.#clock, connectCheckMs);
      }
      return true;
    });
  }

  /** Returns whether post-copy is proven; otherwise the observer is notified when it is. */
  async isProven(): Promise<boolean> {
    const isProven = (await this.#proof()) === "proven";
    if (!isProven) void this.prove();
    return isProven;
  }

  async prove(): Promise<void> {
    if (this.#proving) return;
    this.#proving = true;
    try {
      for (;;) {
        const proof = await this.#proof();
        // The migration's end is reported by its own event.
        if (proof === "ended") return;
        if (proof === "proven") break;
        await sleep(this.#clock, proofCheckMs);
      }
      this.#tell();
    } catch {
      // The exit is reported separately.
    } finally {
      this.#proving = false;
    }
  }

  /**
   * QEMU reports post-copy before it has sent the device state, and may still fail then and resume its guest. Pages
   * sent in post-copy prove that it is past that point (migration/migration.c: postcopy_start).
   */
  async #proof(): Promise<"proven" | "unproven" | "ended"> {
    const { status, ram } = await this.#qemu.main.execute("query-migrate", {});
    if (status !== "postcopy-active") return "ended";
    return (ram?.["postcopy-bytes"] ?? 0) > 0 ? "proven" : "unproven";
  }
}
