// `switchover/testing`: two hosts, their QEMUs, a coordinator and a network that loses, delays, repeats and reorders,
// run by the real machines; and a model of a memory stream. For tests of your own policies, and for ours.

export { type Counterexample, parseCounterexample } from "./counterexample.js";
export { type GuestModel, type Played, playPolicy } from "./play-policy.js";
export type { Move } from "./rules.js";
export { type Found, type SearchOptions, search } from "./search.js";
export { runners, type State } from "./state.js";
export { type MoveSeen, type Told, ToldWorld } from "./traced-world.js";
export { BrokenGuarantee, World, type WorldOptions } from "./world.js";
