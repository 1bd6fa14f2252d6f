// `switchover/proof-guest`: a guest that proves its own continuity, for testing migrations: its firmware, its start, and the check
// of its reports.

export {
  type ContinuityFault,
  type ContinuityReport,
  checkContinuity,
  describeContinuity,
} from "./continuity.js";
export { buildFirmware, type ProofGuestOptions, proofGuestOptions } from "./firmware.js";
export { launchProofGuest, type ProofGuest } from "./launch.js";
