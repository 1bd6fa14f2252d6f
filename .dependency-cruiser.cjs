// The rings: protocol ← machines ← effects ← drivers; the outside composes them. No arrow goes the other way.
const ring = (name, path, mayUse) => ({
  name: `${name} stays inside its ring`,
  severity: "error",
  from: { path },
  to: { path: "^src/", pathNot: mayUse },
});
module.exports = {
  forbidden: [
    ring("protocol", "^src/protocol/", "^src/protocol/"),
    ring("machines", "^src/machines/", "^src/(protocol|machines)/"),
    ring("effects", "^src/effects/", "^src/(protocol|machines|effects)/"),
    ring("drivers", "^src/drivers/", "^src/(protocol|machines|effects|drivers)/"),
    ring("simulator", "^src/simulator/", "^src/(protocol|machines|effects|simulator)/"),
    {
      name: "the simulated world is for tests, and for the inspector, which shows it",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/(simulator|inspector)/" },
      to: { path: "^src/simulator/" },
    },
    ring("proof-guest", "^src/proof-guest/", "^src/(proof-guest/|library/local/running-guest)"),
    {
      name: "protocol is plain: data, plain decisions and the schemas of its data",
      severity: "error",
      from: { path: "^src/protocol/" },
      to: { dependencyTypes: ["npm", "core"], pathNot: "^node_modules/zod/" },
    },
    {
      name: "machines do no I/O",
      severity: "error",
      from: { path: "^src/machines/" },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "benchmarks stand alone: scripts print their results, and measure nothing themselves",
      severity: "error",
      from: { path: "^scripts/" },
      to: { path: "^bench/" },
    },
    {
      name: "benchmarks use no scripts",
      severity: "error",
      from: { path: "^bench/" },
      to: { path: "^scripts/" },
    },
    {
      name: "no circles",
      severity: "error",
      from: {},
      to: { circular: true },
    },
  ],
  options: {
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: "specify",
    doNotFollow: { path: "node_modules" },
  },
};
