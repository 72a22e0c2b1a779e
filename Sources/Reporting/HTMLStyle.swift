/// The report's style sheet, and its hash for the content security policy: a test compares the two.
enum HTMLStyle {
  /// `sha256-` and the base64 of the SHA-256 of ``css``.
  static let hash: StaticString = "sha256-flnZRci1CExAP8NzVtdDZVKVXm6L/Z/qXt3i2Wb/RWU="

  static let css: StaticString = """
    :root{color-scheme:light dark;--bg:#f6f7f8;--card:#fff;--ink:#1b2228;--soft:#5a6672;--faint:#8b96a1;--line:#e3e7eb;\
    --accent:#2f6f9f;--bar:#7fb0d3;--track:#edf0f3;--green:#1a7f4b;--greenbg:#e3f4ea;--amber:#8a5a00;--amberbg:#fcf1d8;\
    --red:#b3261e;--redbg:#fce8e6;--violet:#6b3fa0;--violetbg:#f1e9fa;\
    --mono:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
    @media (prefers-color-scheme:dark){:root{--bg:#12161a;--card:#1a2026;--ink:#e4e9ed;--soft:#a3afba;--faint:#74818d;\
    --line:#2b343c;--accent:#7cb8e0;--bar:#3f7ea8;--track:#242c33;--green:#6fd39b;--greenbg:#15301f;--amber:#edbe63;\
    --amberbg:#352a12;--red:#ff9a91;--redbg:#3b1a18;--violet:#c8a6f2;--violetbg:#2b1f3b}}
    *{box-sizing:border-box}
    body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,\
    "Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
    main,footer{max-width:1120px;margin:0 auto;padding:0 24px}
    main{padding-top:28px}
    h1{font-size:30px;line-height:1.15;margin:0;letter-spacing:-.01em}
    h2{font-size:18px;margin:0 0 12px;display:flex;align-items:center;gap:8px}
    code,pre{font-family:var(--mono);font-size:.87em;unicode-bidi:isolate}
    code{overflow-wrap:anywhere}
    small{font-size:.85em;color:var(--faint)}
    .banner{display:flex;gap:20px;align-items:center;border-radius:14px;padding:22px 26px;border:1px solid transparent}
    .banner p,.banner ul{margin:6px 0 0}
    .banner ul{padding-left:1.1em}
    .banner .kicker{margin:0 0 2px;font-size:13px;color:var(--soft)}
    .mark{flex:none;width:54px;height:54px;border-radius:50%;display:grid;place-items:center;font-size:28px;\
    line-height:1;color:var(--card);font-weight:700}
    .clean{background:var(--greenbg);border-color:color-mix(in srgb,var(--green) 25%,transparent)}
    .clean h1{color:var(--green)}.clean .mark{background:var(--green)}
    .findings{background:var(--amberbg);border-color:color-mix(in srgb,var(--amber) 25%,transparent)}
    .findings h1{color:var(--amber)}.findings .mark{background:var(--amber)}
    .blocked{background:var(--redbg);border-color:color-mix(in srgb,var(--red) 25%,transparent)}
    .blocked h1{color:var(--red)}.blocked .mark{background:var(--red)}
    .incomplete{background:var(--violetbg);border-color:color-mix(in srgb,var(--violet) 25%,transparent)}
    .incomplete h1{color:var(--violet)}.incomplete .mark{background:var(--violet)}
    section,.timeline{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:20px 24px;\
    margin:16px 0}
    .command{padding:16px 24px}
    .command pre{margin:0;font-size:15px;white-space:pre-wrap;overflow-wrap:anywhere;max-height:11em;overflow:auto}
    .command p{margin:6px 0 0;color:var(--soft);font-size:13.5px}
    .prompt{color:var(--faint);user-select:none}
    .tiles{display:grid;grid-template-columns:repeat(6,1fr);gap:12px;margin:16px 0}
    .tiles div{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px;min-width:0}
    .tiles dt{font-size:13px;color:var(--soft)}
    .tiles dd{margin:2px 0 0;font-size:22px;font-weight:650;line-height:1.25;font-variant-numeric:tabular-nums;\
    letter-spacing:-.01em}
    .tiles small{display:block;font-size:13px;font-weight:400;letter-spacing:0;color:var(--soft);margin-top:2px}
    .tiles .bad dd,.tiles .bad small{color:var(--red)}
    .timeline{padding:16px 24px 10px}
    .timeline svg{display:block;width:100%;height:64px;fill:var(--bar)}
    figcaption{display:flex;justify-content:space-between;font-size:12.5px;color:var(--faint);\
    border-top:1px solid var(--line);padding-top:4px;margin-top:1px;font-variant-numeric:tabular-nums}
    .count{font-size:13px;font-weight:500;color:var(--soft);background:var(--track);border-radius:99px;padding:1px 9px}
    .hint,.none,.more{color:var(--soft);font-size:13.5px;margin:0 0 12px}
    .more{margin:8px 0}
    section>p:last-child{margin-bottom:0}
    .scroll{overflow-x:auto;margin:0 -8px}
    table{border-collapse:collapse;width:100%;font-size:13.5px}
    th{font-weight:600;color:var(--soft);text-align:left;font-size:12.5px;white-space:nowrap;vertical-align:bottom}
    th,td{padding:5px 8px;border-bottom:1px solid var(--line);vertical-align:top}
    tbody tr:last-child td{border-bottom:0}
    tbody tr:hover{background:var(--track)}
    tfoot th,tfoot td{border-top:1px solid var(--line);border-bottom:0;font-weight:600}
    .num{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
    .zero{color:var(--faint)}
    .lost{color:var(--red);font-weight:700}
    .dir{color:var(--soft)}
    .arrow{color:var(--faint)}
    .who{white-space:nowrap;color:inherit;text-decoration:none}
    .who:hover{text-decoration:underline}
    .p:target>summary{background:var(--amberbg)}
    .scroll+.hint,.fold+.hint{margin-top:14px}
    .esc{color:var(--red);background:var(--redbg);border-radius:3px;padding:0 2px;font-family:var(--mono);font-size:.9em}
    .badge{display:inline-block;font-size:12px;line-height:18px;padding:0 8px;border-radius:99px;background:var(--track);\
    color:var(--soft);white-space:nowrap;font-weight:500}
    .badge.bad{background:var(--redbg);color:var(--red)}
    .badge.warn{background:var(--amberbg);color:var(--amber)}
    .badge.new{background:var(--greenbg);color:var(--green)}
    summary{cursor:pointer;list-style:none}
    summary::-webkit-details-marker{display:none}
    summary:focus-visible{outline:2px solid var(--accent);outline-offset:1px;border-radius:4px}
    .p{position:relative}
    .p>summary{display:flex;align-items:center;gap:8px;padding:2px 34px 2px 4px;border-radius:6px;font-size:13.5px;\
    min-height:27px}
    .p>summary:hover{background:var(--track)}
    .p>summary::before{content:"";flex:none;width:0;height:0;border:4px solid transparent;border-left:5px solid var(--faint);\
    border-right:0;margin:0 2px 0 3px}
    .p[open]>summary::before{transform:rotate(90deg)}
    .leaf>summary::before{border:0;width:5px;height:5px;border-radius:50%;background:var(--line);margin:0 2px}
    .leaf[open]>summary::before{background:var(--accent)}
    .line{flex:1;min-width:0;overflow:hidden;display:flex;white-space:pre;unicode-bidi:isolate;\
    font-family:var(--mono);font-size:12.5px}
    .line b{font-weight:650;flex:none;max-width:60%;overflow:hidden;text-overflow:ellipsis}
    .args,.tail{color:var(--soft);unicode-bidi:isolate}
    .args{min-width:0;overflow:hidden;text-overflow:ellipsis}
    .tail{flex:none}
    .below{font-size:12px;color:var(--faint);font-variant-numeric:tabular-nums}
    .p .badge{flex:none}
    .time{flex:none;width:76px;text-align:right;color:var(--soft);font-size:12.5px;white-space:nowrap;\
    font-variant-numeric:tabular-nums}
    .when{flex:none;width:130px;height:8px;background:var(--track);border-radius:2px;fill:var(--bar)}
    .kids{margin-left:8px;padding-left:9px;border-left:1px solid var(--line)}
    .kids>.more{margin:3px 0 5px 6px}
    .about>summary{position:absolute;top:3px;right:4px;width:26px;line-height:20px;text-align:center;color:var(--faint);\
    border-radius:5px;font-weight:700;letter-spacing:1px}
    .about>summary:hover,.about[open]>summary{background:var(--line);color:var(--ink)}
    .facts{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:4px 0 8px 18px;padding:9px 14px;\
    background:var(--track);border-radius:8px;font-size:13px}
    .facts dt,.legend dt{color:var(--soft)}
    .facts dd,.legend dd{margin:0;min-width:0;overflow-wrap:anywhere}
    .fold{margin:12px 0 0}
    .fold>summary{font-weight:600;font-size:14px;padding:3px 0}
    .fold>summary::before{content:"";display:inline-block;border:4px solid transparent;border-left:5px solid var(--faint);\
    border-right:0;margin-right:8px}
    .fold[open]>summary::before{transform:rotate(90deg)}
    .legend{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;font-size:13px;margin:14px 0}
    .legend dd{color:var(--soft)}
    .legend dt{color:var(--ink)}
    .checks{list-style:none;margin:0;padding:0;font-size:13.5px;columns:2;column-gap:28px}
    .checks li{padding-left:22px;position:relative;break-inside:avoid;overflow-wrap:anywhere}
    .checks li::before{position:absolute;left:0;font-weight:700}
    .checks .ok::before{content:"✓";color:var(--green)}
    .checks .bad{color:var(--red)}
    .checks .bad::before{content:"✕"}
    footer{color:var(--soft);font-size:13px;padding-top:6px;padding-bottom:36px}
    @media (max-width:900px){.tiles{grid-template-columns:repeat(3,1fr)}.when{width:70px}.checks{columns:1}}
    @media (max-width:560px){main,footer{padding-left:12px;padding-right:12px}.tiles{grid-template-columns:repeat(2,1fr)}\
    .when,.below,.tail{display:none}.time{width:60px}section{padding:16px}}
    @media print{:root{color-scheme:light;--bg:#fff}body{font-size:11pt}main,footer{max-width:none;padding:0}\
    section,.timeline,.tiles div{border-color:#ccc;break-inside:auto}.tiles,.banner,tr,.p>summary{break-inside:avoid}\
    .about,.prompt,.tree .hint{display:none}.line{display:block;white-space:normal}.scroll{overflow:visible}\
    .banner,.badge,.when,.timeline svg,.mark{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
    """
}
