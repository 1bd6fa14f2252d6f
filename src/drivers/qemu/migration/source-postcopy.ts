// Post-copy at the source's QEMU: its beginning, the proof that it has begun, and its connection.

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
  /** Told once it is proven. */
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
      if (ram === undefined) return failed("QEMU does not send memory yet: ask again when it does");
      if (ram["postcopy-bytes"] === undefined)
        return failed("this QEMU does not tell what it has sent in post-copy: it is older than 7.0");
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

  /** Asked again while QEMU still connects, 7.2 crashes: the answer waits until it has connected, or has not. */
  resume(uri: StreamAddress, signal: AbortSignal): Promise<Answer<Resumption>> {
    return answering(async () => {
      const { main } = this.#qemu;
      const status = async () => (await main.execute("query-migrate", {})).status;
      const isPaused = async () => (await status()) === "postcopy-paused";
      // The destination listens anew: what QEMU takes for a connection here has no other end.
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

  /** False when it does not become so in the time that a connection takes. */
  #until(signal: AbortSignal, isSo: () => Promise<boolean>): Promise<boolean> {
    return within(this.#clock, connectMs, signal, async (late) => {
      while (!(await isSo())) {
        if (late.aborted) return false;
        await sleep(this.#clock, connectCheckMs);
      }
      return true;
    });
  }

  /** Whether it is proven already; if not, that is told when it is. */
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
        // The end of it is told by its own event.
        if (proof === "ended") return;
        if (proof === "proven") break;
        await sleep(this.#clock, proofCheckMs);
      }
      this.#tell();
    } catch {
      // Its death is told.
    } finally {
      this.#proving = false;
    }
  }

  /**
   * QEMU says that it is in post-copy before it has sent the devices' state, and may still fail then and let its guest go
   * on. Pages that it has sent in post-copy come after that (migration/migration.c: postcopy_start).
   */
  async #proof(): Promise<"proven" | "unproven" | "ended"> {
    const { status, ram } = await this.#qemu.main.execute("query-migrate", {});
    if (status !== "postcopy-active") return "ended";
    return (ram?.["postcopy-bytes"] ?? 0) > 0 ? "proven" : "unproven";
  }
}
