//! x
#![allow(clippy::all)]
use metergraph_keystore::*;
fn main() {
    let f = std::path::PathBuf::from(std::env::args().nth(1).unwrap()).join("keystore");
    let n: u32 = std::env::args().nth(2).unwrap().parse().unwrap();
        println!("{:?}", Store::init(&f, None));
        let mut t = Vec::new();
        sample::write(&sample::Sample{devices:n, classic:0, profile:"p"}, &mut t).unwrap();
        let t0 = std::time::Instant::now();
        match Store::open(&f).ok().unwrap().import(&shipment::Shipment::read(&t[..]).ok().unwrap(), &|_| Some(vec![]), true) { Ok(x) => println!("{x:?}"), Err(e) => println!("ERR {e}") };
        println!("{:?}", t0.elapsed());
        let s = Store::open(&f).ok().unwrap(); println!("{}", s.directory().ok().unwrap().devices());
}
