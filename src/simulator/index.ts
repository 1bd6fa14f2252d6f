// `switchover/testing`: the real machines in a simulated world of two hosts, their QEMUs, a coordinator and a network that
// loses, delays, duplicates and reorders messages; and a model of a memory stream for testing convergence policies.

export { type Counterexample, parseCounterexample } from "./counterexample.js";
export { type GuestModel, type Played, playPolicy } from "./play-policy.js";
export type { Move } from "./rules.js";
export { type Found, type SearchOptions, search } from "./search.js";
export { runners, type State } from "./state.js";
export { type MoveSeen, type Told, ToldWorld } from "./traced-world.js";
export { BrokenGuarantee, World, type WorldOptions } from "./world.js";
