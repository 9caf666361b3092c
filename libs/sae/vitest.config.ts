import { project } from "../../vitest.base.ts";

// Its tests use every core by themselves.
export default project("sae", { maxWorkers: 1 });
