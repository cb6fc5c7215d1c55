use procession::prelude::*;

mod images {
    use super::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Image(u64);

    #[task]
    pub fn size(image: Image) -> u64 {
        image.0
    }
}

fn main() {}
