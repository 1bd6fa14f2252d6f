// A story of the simulated world as data: the world and the names of the moves. It can be replayed to check whether the moves
// still violate the guarantee.

import * as z from "zod/mini";
import type { ConvergencePolicy } from "../protocol/convergence/policy.js";
import { isConvergencePolicy } from "../protocol/convergence/validate.js";

const convergence = z.custom<ConvergencePolicy>(isConvergencePolicy);
const schema = z.strictObject({
  kind: z.literal("counterexample"),
  version: z.literal(1),
  /** The violated guarantee. */
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

/** Validates JSON that may come from another machine. */
export function parseCounterexample(json: unknown): Counterexample | { readonly wrong: string } {
  const parsed = schema.safeParse(json);
  return parsed.success ? parsed.data : { wrong: z.prettifyError(parsed.error) };
}
