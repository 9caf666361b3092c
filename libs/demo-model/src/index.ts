export { corpusDir, demoModelDir } from "./paths.ts";
