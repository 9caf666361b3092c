/**
 * Functions that read-only users may call, by group, in lower case: what arithmetic, statistics, text and time need. What
 * reads files, settings, dictionaries, other tables or the server itself is not among them, nor is what one call can keep
 * busy for longer than a query may take (a query is not stopped within a call), such as what makes long texts.
 * https://clickhouse.com/docs/sql-reference/functions
 */
const SCALAR_FUNCTIONS = `
  plus minus multiply divide divideornull intdiv intdivorzero intdivornull modulo mod modulolegacy moduloorzero moduloornull positivemodulo pmod negate abs sign gcd lcm
  max2 min2 isnan isfinite isinfinite ifnotfinite
  sqrt cbrt exp exp2 exp10 intexp2 intexp10 log ln log2 log10 log1p pow power sqr hypot erf erfc lgamma tgamma sigmoid sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh
  degrees radians pi e factorial widthbucket width_bucket
  round floor ceil ceiling trunc truncate roundbankers rounddown roundtoexp2 bar
  bitand bitor bitxor bitnot bitshiftleft bitshiftright bitcount bittest bittestall bittestany bithammingdistance bitslice
  equals notequals less greater lessorequals greaterorequals isdistinctfrom isnotdistinctfrom in notin globalin globalnotin nullin notnullin and or not xor
  if multiif greatest least clamp coalesce ifnull nullif isnull isnotnull assumenotnull tonullable iszeroornull isnullable transform
  array arrayall arrayavg arrayauc arrayaucpr arrayrocauc arrayprauc arraycompact arrayconcat arraycount arraycumsum arraycumsumnonnegative arraydifference arraydistinct arraydotproduct
  arrayelement arrayelementornull arrayenumerate arrayenumeratedense arrayenumerateuniq arrayexcept arrayexists arrayfill arrayfilter arrayfirst arrayfirstindex arrayfirstornull arrayflatten flatten
  arrayintersect arrayunion arraysymmetricdifference arrayjaccardindex arrayjoin unnest arraylast arraylastindex arraylastornull arraymap arraymax arraymin arrayproduct arraypopback arraypopfront arraypushback arraypushfront
  arrayreduce arrayresize arrayreverse arrayreversefill arrayreversesort arrayreversesplit arrayrotateleft arrayrotateright arrayshiftleft arrayshiftright arrayslice arraysort arraypartialsort arraypartialreversesort
  arraysplit arraystringconcat arraysum arraytopk arraybottomk arrayuniq arraywithconstant arrayzip arrayzipunaligned countequal empty notempty has hasall hasany hassubstr indexof length range reverse
  emptyarraytosingle emptyarraystring emptyarrayuint32 emptyarrayuint64 emptyarrayfloat32 emptyarrayfloat64
  map mapadd mapall mapapply mapconcat mapcontains mapcontainskey mapcontainsvalue mapexists mapfilter mapfromarrays mapkeys mapvalues mapsort mapreversesort mapsubtract mapupdate
  tuple tupleelement tupleconcat tupleplus tupleminus tuplemultiply tupledivide tuplenegate tuplenames tupletonamevaluepairs untuple dotproduct scalarproduct tuplehammingdistance
  l1norm l2norm l2squarednorm linfnorm lpnorm l1normalize l2normalize linfnormalize lpnormalize l1distance l2distance l2squareddistance linfdistance lpdistance cosinedistance
  lower lcase upper ucase lowerutf8 upperutf8 lengthutf8 char_length character_length octet_length reverseutf8 concat concat_ws concatwithseparator concatassumeinjective
  substring substr mid substringutf8 substringindex substring_index left right leftutf8 rightutf8 trim trimboth trimleft trimright ltrim rtrim ascii char
  startswith endswith startswithutf8 endswithutf8 startswithcaseinsensitive endswithcaseinsensitive isvalidutf8 tovalidutf8 initcap initcaputf8 firstline format conv base64encode base64decode trybase64decode hex unhex bin unbin
  like notlike ilike notilike match extract extractall extractallgroups extractallgroupshorizontal extractallgroupsvertical extractgroups regexpextract regexp_extract countmatches countmatchescaseinsensitive
  position locate instr positionutf8 positioncaseinsensitive positioncaseinsensitiveutf8 countsubstrings countsubstringscaseinsensitive hastoken hastokencaseinsensitive hasalltokens hasanytokens hassubsequence hassubsequencecaseinsensitive
  multisearchany multisearchanycaseinsensitive multisearchanyutf8 multisearchfirstindex multisearchfirstposition multisearchallpositions ngramdistance ngramdistancecaseinsensitive ngramsearch ngramsearchcaseinsensitive
  replace replaceone replaceall replaceregexpone replaceregexpall regexp_replace translate translateutf8 overlay splitbychar splitbystring splitbyregexp splitbywhitespace splitbynonalpha alphatokens ngrams tokens
  isvalidjson jsonhas jsonlength jsonkey jsontype jsonextract jsonextractuint jsonextractint jsonextractfloat jsonextractbool jsonextractstring jsonextractarrayraw jsonextractkeysandvalues jsonextractkeysandvaluesraw
  jsonextractkeys jsonextractraw json_exists json_query json_value tojsonstring simplejsonhas simplejsonextractuint simplejsonextractint simplejsonextractfloat simplejsonextractbool simplejsonextractraw simplejsonextractstring
  now now64 today yesterday timezone totimezone todate todate32 todatetime todatetime64 tounixtimestamp tounixtimestamp64milli fromunixtimestamp fromunixtimestamp64milli toyear toquarter tomonth toweek todayofyear todayofmonth
  todayofweek tohour tominute tosecond tostartofyear tostartofquarter tostartofmonth tostartofweek tostartofday tostartofhour tostartofminute tostartofsecond tostartofinterval tostartoffiveminutes tostartoftenminutes tostartoffifteenminutes
  tomonday toyyyymm toyyyymmdd toisoyear toisoweek datediff date_diff datetrunc date_trunc dateadd date_add datesub date_sub age formatdatetime parsedatetimebesteffort parsedatetime64besteffort
  addseconds addminutes addhours adddays addweeks addmonths addyears subtractseconds subtractminutes subtracthours subtractdays subtractweeks subtractmonths subtractyears year month day hour minute second timeslot
  rand rand32 rand64 randcanonical randuniform randnormal randconstant generateuuidv4
  cityhash64 siphash64 siphash128 xxhash32 xxhash64 murmurhash3_32 murmurhash3_64 farmhash64 halfmd5 md5 sha1 sha256 inthash32 inthash64
  cast accuratecast accuratecastornull accuratecastordefault reinterpretasuint32 reinterpretasfloat32 reinterpretasuint64 reinterpretasfloat64 reinterpret tostring tofixedstring totypename tobool touuid tobfloat16
  identity materialize ignore rownumberinallblocks rownumberinblock runningdifference formatreadablesize formatreadablequantity formatreadabledecimalsize formatreadabletimedelta grouping exists columns visiblewidth
`;

const AGGREGATE_FUNCTIONS = `
  count sum avg min max any any_value anylast anyheavy first_value last_value argmin argmax min_by max_by argandmin argandmax sumwithoverflow sumkahan sumcount summap avgweighted singlevalueornull
  minmap maxmap summappedarrays minmappedarrays maxmappedarrays deltasum boundingratio
  uniq uniqexact uniqcombined uniqcombined64 uniqhll12 uniqupto grouparray groupuniqarray grouparraysample grouparraysorted grouparraylast grouparraymovingsum grouparraymovingavg grouparrayintersect array_agg groupconcat group_concat string_agg
  groupbitand groupbitor groupbitxor topk topkweighted approx_top_k approx_top_sum histogram sparkbar
  quantile quantiles median quantileexact quantilesexact quantileexactlow quantileexacthigh quantileexactinclusive quantileexactexclusive quantileexactweighted quantiletiming quantilestiming quantiletdigest quantilestdigest quantiletdigestweighted
  quantilebfloat16 quantilesbfloat16 quantiledd quantilesdd quantilegk quantilesgk quantiledeterministic quantilesdeterministic medianexact mediantdigest
  stddevpop stddevsamp stddev_pop stddev_samp stddev varpop varsamp var_pop var_samp covarpop covarsamp covar_pop covar_samp corr corrstable covarpopstable covarsampstable stddevpopstable stddevsampstable varpopstable varsampstable
  corrmatrix covarpopmatrix covarsampmatrix skewpop skewsamp kurtpop kurtsamp entropy simplelinearregression rankcorr studentttest welchttest mannwhitneyutest meanztest cramersv theilsu contingency largesttrianglethreebuckets
  row_number rank dense_rank denserank percent_rank percentrank cume_dist ntile lag lead laginframe leadinframe nth_value
`;

/** Table functions that make rows out of nothing. */
const TABLE_FUNCTIONS = "numbers numbers_mt zeros zeros_mt generate_series generateseries values view";

/** Types with parameters look like calls. */
const TYPES = "decimal decimal32 decimal64 decimal128 decimal256 fixedstring datetime datetime64 array nullable lowcardinality tuple map enum enum8 enum16 nested variant interval json varchar char";

const CONVERSIONS = ["uint8", "uint16", "uint32", "uint64", "uint128", "uint256", "int8", "int16", "int32", "int64", "int128", "int256", "float32", "float64", "date", "date32", "datetime", "datetime64", "uuid", "decimal32", "decimal64", "decimal128"]
  .flatMap((type) => ["", "orzero", "ornull", "ordefault"].map((suffix) => `to${type}${suffix}`));

const INTERVALS = ["second", "minute", "hour", "day", "week", "month", "quarter", "year"].map((unit) => `tointerval${unit}`);

const wordsOf = (text: string): readonly string[] => text.split(/\s+/).filter((word) => word !== "");

const AGGREGATES: ReadonlySet<string> = new Set(wordsOf(AGGREGATE_FUNCTIONS));
const OTHERS: ReadonlySet<string> = new Set([...wordsOf(SCALAR_FUNCTIONS), ...wordsOf(TABLE_FUNCTIONS), ...wordsOf(TYPES), ...CONVERSIONS, ...INTERVALS]);

// https://clickhouse.com/docs/sql-reference/aggregate-functions/combinators without those that take or give states.
const COMBINATOR = /(?:if|array|map|distinct|ordefault|ornull|foreach|resample|argmin|argmax)$/;

/** Whether read-only SQL may call a function, or name a type, of this name. */
export function mayCall(name: string): boolean {
  const lower = name.toLowerCase();
  if (OTHERS.has(lower)) return true;
  for (let base = lower; ; base = base.replace(COMBINATOR, "")) {
    if (AGGREGATES.has(base)) return true;
    if (!COMBINATOR.test(base)) return false;
  }
}
