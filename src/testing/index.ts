// `switchover/testing`: two hosts, their QEMUs, a coordinator and a network that loses, delays, repeats and reorders,
// run by the real machines. For tests of your own policies, and for ours.

export { type Found, search } from "./search.js";
export { BrokenGuarantee, type Choice, World } from "./world.js";
