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
    ring("testing", "^src/testing/", "^src/(protocol|machines|effects|testing)/"),
    {
      name: "the simulated world is for tests, and for the inspector, which shows it",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/(testing|inspector)/" },
      to: { path: "^src/testing/" },
    },
    ring("guest", "^src/guest/", "^src/guest/"),
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
      name: "no circles",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
  ],
  options: {
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: "specify",
    doNotFollow: { path: "node_modules" },
  },
};
