// Ends a QEMU process, whether its monitor still responds or not.

import { resolvesWithin } from "../../../effects/within.js";
import { type Answer, nothing, unknown } from "../../../protocol/effect-result.js";
import type { QemuProcess } from "./process.js";

const quitLimitMs = 1_000;
const exitLimitMs = 5_000;

/** Asks QEMU to quit, then kills it; the answer is `unknown` when even SIGKILL does not end it in time. */
export async function endProcess(qemu: QemuProcess): Promise<Answer<null>> {
  const quitting = qemu.main.execute("quit", {}, { limitMs: quitLimitMs }).then(
    () => "asked" as const,
    () => "deaf" as const,
  );
  const first = await Promise.race([qemu.exited.then(() => "ended" as const), quitting]);
  if (first === "asked" && (await endsWithin(qemu, quitLimitMs))) return nothing;
  if (first !== "ended") qemu.signal("SIGKILL");
  if (await endsWithin(qemu, exitLimitMs)) return nothing;
  return unknown(`QEMU (pid ${qemu.pid}) did not end within ${exitLimitMs} ms of SIGKILL`);
}

const endsWithin = ({ clock, exited }: QemuProcess, limitMs: number): Promise<boolean> =>
  resolvesWithin(clock, limitMs, exited);
