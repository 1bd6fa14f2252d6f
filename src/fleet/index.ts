// `switchover/fleet`: the public API for draining hosts.

export { type Database, type DbosSteps, databaseTokens, dbosEngine } from "./dbos-engine.js";
export { openDbosEngine } from "./dbos-runner.js";
export {
  Drain,
  type DrainEvent,
  type DrainHow,
  type DrainLimits,
  type DrainRequest,
  defaultDrainLimits,
  type GuestStory,
  type Move,
  type MoveEnd,
} from "./drain.js";
export { type Begun, beginning, type DrainOptions, drain } from "./drain-hosts.js";
export { openFileEngine } from "./file-engine.js";
export { type Fleet, type FleetGuest, type FleetHost, HostLoad, selectHosts } from "./fleet.js";
export { type FleetFile, fleetNow, measureDirtyRates, readFleetFile } from "./fleet-file.js";
export { type Placement, spread } from "./placement.js";
export { type Plan, type PlannedMove, plan } from "./plan.js";
export { type MoverOptions, RpcMover } from "./rpc-mover.js";
export {
  type Conducted,
  type ConductOptions,
  conduct,
  type DrainEngine,
  EngineError,
  type Mover,
  type OpenEngine,
} from "./run-drain.js";
