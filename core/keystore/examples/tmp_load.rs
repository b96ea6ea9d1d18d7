//! x
#![allow(clippy::all)]
use metergraph_keystore::*;
fn rss(s: &str, t: std::time::Instant) { let st = std::fs::read_to_string("/proc/self/status").unwrap(); println!("{s} {:?} {}", t.elapsed(), st.lines().filter(|l| l.starts_with("VmRSS")||l.starts_with("VmHWM")).collect::<Vec<_>>().join(" ")); }
fn main() {
    let f = std::path::PathBuf::from(std::env::args().nth(1).unwrap()).join("keystore");
    let n: u32 = std::env::args().nth(2).unwrap().parse().unwrap();
    let t = std::time::Instant::now();
    if !f.exists() {
        Store::init(&f, None).ok().unwrap();
        { let mut o = std::io::BufWriter::new(std::fs::File::create("/tmp/kk/s.csv").unwrap());
        sample::write(&sample::Sample{devices:n, classic:0, profile:"p"}, &mut o).unwrap(); }
        let s = shipment::Shipment::read(std::fs::File::open("/tmp/kk/s.csv").unwrap()).ok().unwrap();
        rss("read", t);
        Store::open(&f).ok().unwrap().import(&s, &|_| Some(vec![]), true).ok().unwrap();
        rss("import", t);
        return;
    }
    let s = Store::open(&f).ok().unwrap(); rss("open", t);
    let d = s.directory().ok().unwrap(); rss("directory", t);
    let v = s.into_vault();
    for i in 0..2 { let mut n = 0; v.load(&|p| p % 2 == i, &mut |_| n += 1).ok().unwrap(); rss("load", t); }
    println!("{}", d.devices());
}
