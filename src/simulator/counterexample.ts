// A story of the simulated world as data: which world, and the moves that were taken, by name. Whoever has it plays it
// again, and sees the guarantee break, or not any more.

import * as z from "zod/mini";
import type { ConvergencePolicy } from "../protocol/convergence/policy.js";
import { isConvergencePolicy } from "../protocol/convergence/validate.js";

const convergence = z.custom<ConvergencePolicy>(isConvergencePolicy);
const schema = z.strictObject({
  kind: z.literal("counterexample"),
  version: z.literal(1),
  /** What was broken. */
  broken: z.string(),
  faults: z.number(),
  world: z.strictObject({
    peerToPeer: z.exactOptional(z.boolean()),
    policy: z.exactOptional(
      z.strictObject({ whenUnreachable: z.enum(["wait", "fence", "resume"]), patienceMs: z.number() }),
    ),
    storage: z.exactOptional(z.boolean()),
    postcopy: z.exactOptional(z.boolean()),
    convergence: z.exactOptional(convergence),
    aborts: z.exactOptional(z.number()),
  }),
  moves: z.readonly(z.array(z.string())),
});

export type Counterexample = z.output<typeof schema>;

/** Of a text that may come from another machine. */
export function parseCounterexample(json: unknown): Counterexample | { readonly wrong: string } {
  const parsed = schema.safeParse(json);
  return parsed.success ? parsed.data : { wrong: z.prettifyError(parsed.error) };
}
